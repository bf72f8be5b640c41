import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { Inject, Injectable } from '@nestjs/common';
import { Forbidden, NotFound } from '../contracts/domain-errors.js';
import { authorizationOf, Unauthorized } from './bearer-tokens.js';
import { isOfConsole, sessionRole, type AdministrationRole } from './console-session.js';
import type { RouteGuard } from './mesh-route.js';

/** A token that can't be guessed, and that a header can carry. */
export const ADMIN_TOKEN = /^[\x21-\x7e][\x20-\x7e]{14,}[\x21-\x7e]$/;
export const ADMIN_TOKEN_RULE = 'at least 16 ASCII characters';

/** The injection token of `Administration`. */
export const ADMINISTRATION = Symbol('ADMINISTRATION');

/** Who may use the administration of the mesh. */
export interface Administration {
  /** The bearer token that requests must carry: at least 16 ASCII characters. */
  readonly token?: string | undefined;
  /** A bearer token with which requests may read only. */
  readonly readToken?: string | undefined;
  /** Without a token the administration is open in development, and answers 404 otherwise. */
  readonly isDevelopment: boolean;
}

const SAFE_METHODS: readonly (string | undefined)[] = ['GET', 'HEAD'];

/** Protects the administrative routes below /mesh. */
@Injectable()
export class AdministrationGuard implements RouteGuard {
  /** @throws Error when a token is too short, or both are the same */
  constructor(@Inject(ADMINISTRATION) readonly administration: Administration) {
    const { token, readToken } = administration;
    for (const [name, it] of Object.entries({ token, readToken }))
      if (it && !ADMIN_TOKEN.test(it)) throw new Error(`The option administration.${name} needs ${ADMIN_TOKEN_RULE}`);
    if (token && token === readToken)
      throw new Error('The option administration.readToken must differ from administration.token');
  }

  /** @throws NotFound where there is no administration, Unauthorized without a token, Forbidden when a reader changes something */
  authorize(request: IncomingMessage): void {
    const role = this.roleOf(request);
    if (SAFE_METHODS.includes(request.method)) return;
    if (role === 'reader') throw new Forbidden('This token may only read: use the administration token');
    // A page on another port of this machine, or on another host of this domain.
    if (request.headers['sec-fetch-site'] === 'same-site' && !isOfConsole(request))
      throw new Forbidden('Requests of other pages are refused', 'Sec-Fetch-Site');
  }

  /** @throws NotFound where there is no administration, Unauthorized without a token */
  roleOf(request: IncomingMessage): AdministrationRole {
    this.assertAvailable(request);
    const { isDevelopment } = this.administration;
    if (!this.needsToken && isDevelopment) return 'administrator';
    const given = /^Bearer (.+)$/i.exec(authorizationOf(request) ?? '')?.[1];
    const role = given === undefined ? sessionRole(request, (it) => this.tokenOf(it)) : this.roleOfToken(given);
    if (role) return role;
    throw new Unauthorized('Send the administration token: Authorization: Bearer <token>');
  }

  /** @throws NotFound where there is no administration */
  assertAvailable(request: IncomingMessage): void {
    if (this.needsToken || this.administration.isDevelopment) return;
    throw new NotFound(`Cannot ${request.method} ${request.url?.split('?')[0]}`);
  }

  get needsToken(): boolean {
    const { token, readToken } = this.administration;
    return Boolean(token ?? readToken);
  }

  /** The role that a token gives, if any. */
  roleOfToken(given: string): AdministrationRole | undefined {
    const { token, readToken } = this.administration;
    // Digests have one length, so the time of the comparison tells nothing about the token, not even its length.
    const isEqual = (it?: string) => Boolean(it) && timingSafeEqual(digestOf(it!), digestOf(given));
    const [isAdministrator, isReader] = [isEqual(token), isEqual(readToken)];
    return isAdministrator ? 'administrator' : isReader ? 'reader' : undefined;
  }

  /** The token behind a role, which signs the sessions with that role. */
  tokenOf(role: AdministrationRole): string | undefined {
    const { token, readToken } = this.administration;
    return role === 'administrator' ? token : readToken;
  }
}

function digestOf(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
