import { Injectable, SetMetadata, type CallHandler, type ExecutionContext, type NestInterceptor } from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import type { Response } from 'express';
import { map, type Observable } from 'rxjs';

const LOCATION = 'mesh:location';

/** Sets `Location` of the response: `@Location('/orders/:id')`, with fields of the response body. */
export const Location = (template: string) => SetMetadata(LOCATION, template);

@Injectable()
export class LocationInterceptor implements NestInterceptor {
  constructor(private readonly reflector: Reflector) {}

  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
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
