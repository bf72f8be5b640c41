import { timingSafeEqual } from 'node:crypto';
import { Inject, Injectable, UnauthorizedException, type CanActivate, type ExecutionContext } from '@nestjs/common';
import type { Request } from 'express';
import { NotFound } from '../contracts/domain-errors.js';

/** The injection token of `Administration`. */
export const ADMINISTRATION = Symbol('ADMINISTRATION');

/** Who may use the administration of the mesh. */
export interface Administration {
  /** The bearer token that requests must carry. */
  readonly token?: string;
  /** Without a token the administration is open in development, and answers 404 otherwise. */
  readonly isDevelopment: boolean;
}

/** Protects the routes below /mesh. */
@Injectable()
export class AdministrationGuard implements CanActivate {
  constructor(@Inject(ADMINISTRATION) private readonly administration: Administration) {}

  canActivate(context: ExecutionContext): boolean {
    const { token, isDevelopment } = this.administration;
    const request = context.switchToHttp().getRequest<Request>();
    if (!token) {
      if (isDevelopment) return true;
      throw new NotFound(`Cannot ${request.method} ${request.path}`);
    }
    const given = /^Bearer (.+)$/i.exec(request.get('authorization') ?? '')?.[1] ?? '';
    const [expected, actual] = [Buffer.from(token), Buffer.from(given)];
    if (expected.length === actual.length && timingSafeEqual(expected, actual)) return true;
    throw new UnauthorizedException('Send the administration token: Authorization: Bearer <MESH_ADMIN_TOKEN>');
  }
}
