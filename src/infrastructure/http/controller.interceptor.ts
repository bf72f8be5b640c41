import { Injectable, SetMetadata, type CallHandler, type ExecutionContext, type NestInterceptor } from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import type { Response } from 'express';
import { map, type Observable } from 'rxjs';
import { Registry } from '../messaging/registry.js';
import { enterModule } from './http.js';

const LOCATION = 'mesh:location';

/** Where to find what a request made or changed: `@Location('/orders/:id')`, filled in from the reply's body. */
export const Location = (template: string) => SetMetadata(LOCATION, template);

/** Goes along with every request to a controller: notes the module that answers it, and sets `Location`. */
@Injectable()
export class ControllerInterceptor implements NestInterceptor {
  constructor(
    private readonly reflector: Reflector,
    private readonly registry: Registry,
  ) {}

  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    const module = this.registry.moduleOf(context.getClass());
    if (module) enterModule(module);
    const template = this.reflector.get<string | undefined>(LOCATION, context.getHandler());
    if (!template) return next.handle();
    return next.handle().pipe(
      map((body: Record<string, unknown>) => {
        const location = template.replace(/:(\w+)/g, (_, field: string) => encodeURIComponent(String(body[field])));
        context.switchToHttp().getResponse<Response>().setHeader('Location', location);
        return body;
      }),
    );
  }
}
