import { Injectable, NotFoundException, SetMetadata, type CanActivate, type ExecutionContext } from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import type { Request } from 'express';
import { MeshListener, type ServedPort } from './mesh-listener.js';

const SERVED_ON = 'mesh:served-on';

/** The port that serves a controller or a route; `public` without this decorator. */
export const ServedOn = (port: ServedPort) => SetMetadata(SERVED_ON, port);

/**
 * Answers 404 on a port that doesn't serve the route, as for a route that doesn't exist. It decides by the controller that
 * was found, since a check of paths could be evaded by another spelling of the path.
 */
@Injectable()
export class ListenerGuard implements CanActivate {
  constructor(
    private readonly reflector: Reflector,
    private readonly listener: MeshListener,
  ) {}

  canActivate(context: ExecutionContext): boolean {
    if (context.getType() !== 'http') return true;
    const targets = [context.getHandler(), context.getClass()];
    const served = this.reflector.getAllAndOverride<ServedPort | undefined>(SERVED_ON, targets) ?? 'public';
    const request = context.switchToHttp().getRequest<Request>();
    if (this.listener.serves(request, served)) return true;
    throw new NotFoundException(`Cannot ${request.method} ${request.originalUrl}`);
  }
}
