import { createHash, timingSafeEqual } from 'node:crypto';
import { Inject, Injectable, UnauthorizedException, type CanActivate, type ExecutionContext } from '@nestjs/common';
import type { Request, Response } from 'express';
import { NotFound } from '../contracts/domain-errors.js';

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

/** Protects the routes below /mesh. */
@Injectable()
export class AdministrationGuard implements CanActivate {
  /** @throws Error when the token is too short */
  constructor(@Inject(ADMINISTRATION) private readonly administration: Administration) {
    const { token } = administration;
    if (token && !ADMIN_TOKEN.test(token)) throw new Error(`The administration token needs ${ADMIN_TOKEN_RULE}`);
  }

  canActivate(context: ExecutionContext): boolean {
    const { token, isDevelopment } = this.administration;
    const http = context.switchToHttp();
    const request = http.getRequest<Request>();
    if (!token) {
      if (isDevelopment) return true;
      throw new NotFound(`Cannot ${request.method} ${request.path}`);
    }
    const given = /^Bearer (.+)$/i.exec(request.get('authorization') ?? '')?.[1] ?? '';
    // Digests have one length, so the time of the comparison tells nothing about the token, not even its length.
    if (timingSafeEqual(digestOf(token), digestOf(given))) return true;
    http.getResponse<Response>().setHeader('WWW-Authenticate', 'Bearer');
    throw new UnauthorizedException('Send the administration token: Authorization: Bearer <MESH_ADMIN_TOKEN>');
  }
}

function digestOf(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
