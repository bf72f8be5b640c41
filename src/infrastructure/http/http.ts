import { randomUUID } from 'node:crypto';
import { StandardSchemaValidationPipe, type INestApplication } from '@nestjs/common';
import type { NestExpressApplication } from '@nestjs/platform-express';
import type { NextFunction, Request, Response } from 'express';
import { ValidationFailed } from '../contracts/domain-errors.js';
import { requestContext, runInContext, continueTrace } from '../observability/request-context.js';

/** Largest body that is read, in bytes. */
const BODY_LIMIT = 100 * 1024;
/** Deepest nesting of a body. Ours need three levels; without a limit it could use up the stack of who looks at it. */
const BODY_DEPTH = 32;
/** What bodies may be: read and refused by the same list. */
const MEDIA = ['json', '+json'];

/** Gives an application the HTTP manners of the mesh: journeys, validation, problem documents. */
export function configureHttp(app: INestApplication): void {
  const express = app as NestExpressApplication;
  express.disable('x-powered-by');
  // The journey first, so that a body that can't be read is refused with its correlation id, too.
  app.use(beginRequestContext, refuseOtherMedia);
  express.useBodyParser('json', { limit: BODY_LIMIT, type: MEDIA });
  app.use(refuseDeepBodies);
  app.useGlobalPipes(schemaValidation());
}

/** Checks what comes in against the schema that stands beside it, and names the fields at fault. */
export function schemaValidation(): StandardSchemaValidationPipe {
  return new StandardSchemaValidationPipe({
    exceptionFactory: (issues) =>
      new ValidationFailed(
        issues.map(({ path = [], message }) => ({
          field: path.map((it) => String(typeof it === 'object' ? it.key : it)).join('.'),
          detail: message,
        })),
      ),
  });
}

/** Every request is, or begins, a journey; its correlation id is given back. */
function beginRequestContext(request: Request, response: Response, next: NextFunction): void {
  const given = request.get('x-correlation-id');
  const correlationId = given && /^[\w.:-]{1,64}$/.test(given) ? given : randomUUID();
  response.setHeader('X-Correlation-Id', correlationId);
  runInContext({ correlationId, traceparent: continueTrace(request.get('traceparent')) }, next);
}

/** A body in another language than JSON would be taken for none. */
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

/**
 * How long a client is willing to wait for the outcome, in ms: `Prefer: wait=5` (RFC 7240, seconds, at most 10).
 * What isn't understood is ignored, as the RFC demands.
 */
export function preferredWaitMs(prefer: string | undefined): number {
  const seconds = /(?:^|[,;]\s*)wait\s*=\s*"?(\d{1,9})"?\s*(?:[,;]|$)/i.exec(prefer ?? '')?.[1];
  return Math.min(Number(seconds ?? 0), 10) * 1000;
}

/** Notes which module answers a request: what it sends has that module as its source. */
export function setSendingModule(name: string): void {
  const current = requestContext();
  if (current) current.module = name;
}
