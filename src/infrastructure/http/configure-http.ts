import { randomUUID } from 'node:crypto';
import type { INestApplication } from '@nestjs/common';
import type { NestExpressApplication } from '@nestjs/platform-express';
import type { NextFunction, Request, Response } from 'express';
import { ValidationFailed } from '../contracts/domain-errors.js';
import { continueTrace, runInContext } from '../observability/request-context.js';
import { limitServer } from './server-limits.js';
import { schemaValidation } from './validation.js';

/** Largest body that is read, in bytes. */
const BODY_LIMIT = 100 * 1024;
/** Deepest nesting of a body. Without a limit, code that walks a body may use up its stack. */
const BODY_DEPTH = 32;
/** Media types of bodies, both for reading and for refusing others. */
const MEDIA = ['json', '+json'];

/** Gives an application request contexts, JSON bodies and connections with limits, and validation by schema. Express only. */
export function configureHttp(app: INestApplication): void {
  const express = app as NestExpressApplication;
  limitServer(express.getHttpServer());
  express.disable('x-powered-by');
  // The request context comes first, so that a refused body is answered with its correlation id, too.
  app.use(beginRequestContext, refuseOtherMedia);
  express.useBodyParser('json', { limit: BODY_LIMIT, type: MEDIA });
  app.use(refuseDeepBodies);
  app.useGlobalPipes(schemaValidation());
}

/** Takes the correlation id and the trace of the request, or begins new ones; the response carries the id. */
function beginRequestContext(request: Request, response: Response, next: NextFunction): void {
  const given = request.get('x-correlation-id');
  const correlationId = given && /^[\w.:-]{1,64}$/.test(given) ? given : randomUUID();
  response.setHeader('X-Correlation-Id', correlationId);
  runInContext({ correlationId, traceparent: continueTrace(request.get('traceparent')) }, next);
}

/** Without this, a body that isn't JSON would count as missing. */
function refuseOtherMedia(request: Request, _response: Response, next: NextFunction): void {
  const hasBody = Number(request.get('content-length') ?? 0) > 0 || request.get('transfer-encoding') !== undefined;
  if (hasBody && !request.is(MEDIA)) {
    next(Object.assign(new Error('Send application/json'), { status: 415 }));
  } else {
    next();
  }
}

function refuseDeepBodies(request: Request, _response: Response, next: NextFunction): void {
  const isTooDeep = isDeeper(request.body, BODY_DEPTH);
  next(
    isTooDeep ? new ValidationFailed([{ field: '', detail: `nested deeper than ${BODY_DEPTH} levels` }]) : undefined,
  );
}

function isDeeper(value: unknown, depth: number): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return depth === 0 || Object.values(value).some((it) => isDeeper(it, depth - 1));
}
