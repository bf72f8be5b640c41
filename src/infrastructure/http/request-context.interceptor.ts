import { randomUUID } from 'node:crypto';
import { Injectable, SetMetadata, type CallHandler, type ExecutionContext, type NestInterceptor } from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import type { Request, Response } from 'express';
import { map, type Observable } from 'rxjs';
import { HandlerRegistry } from '../contracts/handler-registry.js';
import { requestContext, runInContext, continueTrace } from '../observability/request-context.js';
import { setSendingModule } from './http.js';

const LOCATION = 'mesh:location';

/** Where to find what a request made or changed: `@Location('/orders/:id')`, filled in from the reply's body. */
export const Location = (template: string) => SetMetadata(LOCATION, template);

/**
 * Goes along with every request to a controller: notes the module that answers it, and sets `Location`. Where
 * `configureHttp` has begun no journey, one begins here.
 */
@Injectable()
export class RequestContextInterceptor implements NestInterceptor {
  constructor(
    private readonly reflector: Reflector,
    private readonly registry: HandlerRegistry,
  ) {}

  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    const module = this.registry.moduleOf(context.getClass());
    if (!requestContext()) {
      const request = context.getType() === 'http' ? context.switchToHttp().getRequest<Request>() : undefined;
      const trace = continueTrace(request?.get('traceparent'));
      return runInContext({ correlationId: randomUUID(), traceparent: trace, module }, () =>
        this.handle(context, next),
      );
    }
    if (module) setSendingModule(module);
    return this.handle(context, next);
  }

  private handle(context: ExecutionContext, next: CallHandler): Observable<unknown> {
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
