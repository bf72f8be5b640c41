import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { Inject, Injectable } from '@nestjs/common';
import { NotFound } from '../contracts/domain-errors.js';
import { authorizationOf, Unauthorized } from './bearer-tokens.js';
import type { RouteGuard } from './mesh-route.js';

/** A token that can't be guessed, and that a header can carry. */
export const ADMIN_TOKEN = /^[\x21-\x7e][\x20-\x7e]{14,}[\x21-\x7e]$/;
export const ADMIN_TOKEN_RULE = 'at least 16 ASCII characters';

/** The injection token of `Administration`. */
export const ADMINISTRATION = Symbol('ADMINISTRATION');

/** Who may use the administration of the mesh. */
export interface Administration {
  /** The bearer token that requests must carry: at least 16 ASCII characters. */
  readonly token?: string;
  /** Without a token the administration is open in development, and answers 404 otherwise. */
  readonly isDevelopment: boolean;
}

/** Protects the administrative routes below /mesh. */
@Injectable()
export class AdministrationGuard implements RouteGuard {
  /** @throws Error when the token is too short */
  constructor(@Inject(ADMINISTRATION) private readonly administration: Administration) {
    const { token } = administration;
    if (token && !ADMIN_TOKEN.test(token)) throw new Error(`The administration token needs ${ADMIN_TOKEN_RULE}`);
  }

  authorize(request: IncomingMessage): void {
    const { token, isDevelopment } = this.administration;
    if (!token) {
      if (isDevelopment) return;
      throw new NotFound(`Cannot ${request.method} ${request.url?.split('?')[0]}`);
    }
    const given = /^Bearer (.+)$/i.exec(authorizationOf(request) ?? '')?.[1] ?? '';
    // Digests have one length, so the time of the comparison tells nothing about the token, not even its length.
    if (timingSafeEqual(digestOf(token), digestOf(given))) return;
    throw new Unauthorized('Send the administration token: Authorization: Bearer <MESH_ADMIN_TOKEN>');
  }
}

function digestOf(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
