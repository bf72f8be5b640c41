import {
  Injectable,
  NotFoundException,
  SetMetadata,
  type CanActivate,
  type ExecutionContext,
  type Type,
} from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import type { Request } from 'express';
import { MeshListener, type ServedPort } from './mesh-listener.js';

const SERVED_ON = 'mesh:served-on';

/** The port that serves a controller or a route; `public` without this decorator. */
export const ServedOn = (port: ServedPort) => SetMetadata(SERVED_ON, port);

/** The method of a route. */
export type Handler = ReturnType<ExecutionContext['getHandler']>;

/** The port that serves a route, by the decorators of its method and its controller. */
export function servedPortOf(reflector: Reflector, handler: Handler, controller: Type | Handler): ServedPort {
  return reflector.getAllAndOverride<ServedPort | undefined>(SERVED_ON, [handler, controller]) ?? 'public';
}

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
    const served = servedPortOf(this.reflector, context.getHandler(), context.getClass());
    const request = context.switchToHttp().getRequest<Request>();
    if (this.listener.serves(request, served)) return true;
    throw new NotFoundException(`Cannot ${request.method} ${request.originalUrl}`);
  }
}
