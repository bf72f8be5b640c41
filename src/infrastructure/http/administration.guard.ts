import { createHash, timingSafeEqual } from 'node:crypto';
import { Inject, Injectable, UnauthorizedException, type CanActivate, type ExecutionContext } from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import type { Request, Response } from 'express';
import { NotFound } from '../contracts/domain-errors.js';
import { assertKnown, QUERY_PARAMETERS } from './strict-request.js';

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

/** Protects the administrative routes below /mesh, and refuses parameters that they don't know, and bodies. */
@Injectable()
export class AdministrationGuard implements CanActivate {
  /** @throws Error when the token is too short */
  constructor(
    @Inject(ADMINISTRATION) private readonly administration: Administration,
    private readonly reflector: Reflector,
  ) {
    const { token } = administration;
    if (token && !ADMIN_TOKEN.test(token)) throw new Error(`The administration token needs ${ADMIN_TOKEN_RULE}`);
  }

  canActivate(context: ExecutionContext): boolean {
    const http = context.switchToHttp();
    const request = http.getRequest<Request>();
    this.authorize(request, http.getResponse<Response>());
    const known = this.reflector.get<readonly string[] | undefined>(QUERY_PARAMETERS, context.getHandler());
    assertKnown(request, request.originalUrl, known ?? []);
    return true;
  }

  private authorize(request: Request, response: Response): void {
    const { token, isDevelopment } = this.administration;
    if (!token) {
      if (isDevelopment) return;
      throw new NotFound(`Cannot ${request.method} ${request.path}`);
    }
    const given = /^Bearer (.+)$/i.exec(request.get('authorization') ?? '')?.[1] ?? '';
    // Digests have one length, so the time of the comparison tells nothing about the token, not even its length.
    if (timingSafeEqual(digestOf(token), digestOf(given))) return;
    response.setHeader('WWW-Authenticate', 'Bearer');
    throw new UnauthorizedException('Send the administration token: Authorization: Bearer <MESH_ADMIN_TOKEN>');
  }
}

function digestOf(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
