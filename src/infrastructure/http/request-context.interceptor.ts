import { randomUUID } from 'node:crypto';
import { Injectable, SetMetadata, type CallHandler, type ExecutionContext, type NestInterceptor } from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import type { Request, Response } from 'express';
import { map, type Observable } from 'rxjs';
import { HandlerRegistry } from '../contracts/handler-registry.js';
import { continueTrace, requestContext, runInContext, setSendingModule } from '../observability/request-context.js';

const LOCATION = 'mesh:location';

/** Sets `Location` of the response: `@Location('/orders/:id')`, with fields of the response body. */
export const Location = (template: string) => SetMetadata(LOCATION, template);

/**
 * Runs with every request to a controller: notes the module that answers it, and sets `Location`. Begins a request context
 * in applications that don't use `configureHttp()`.
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
