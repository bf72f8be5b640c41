import { randomUUID } from 'node:crypto';
import type { INestApplication } from '@nestjs/common';
import type { NestExpressApplication } from '@nestjs/platform-express';
import type { NextFunction, Request, Response } from 'express';
import { continueTrace, runInContext } from '../observability/request-context.js';
import { configureServer } from './configure-server.js';
import { jsonBody } from './json-body.js';
import { schemaValidation } from './validation.js';

/** Gives an application request contexts, JSON bodies and connections with limits, and validation by schema. Express only. */
export function configureHttp(app: INestApplication): void {
  const express = app as NestExpressApplication;
  configureServer(express.getHttpServer());
  express.disable('x-powered-by');
  // The request context comes first, so that a refused body is answered with its correlation id, too.
  app.use(beginRequestContext, jsonBody);
  app.useGlobalPipes(schemaValidation());
}

/** Takes the correlation id and the trace of the request, or begins new ones; the response carries the id. */
function beginRequestContext(request: Request, response: Response, next: NextFunction): void {
  const given = request.get('x-correlation-id');
  const correlationId = given && /^[\w.:-]{1,64}$/.test(given) ? given : randomUUID();
  response.setHeader('X-Correlation-Id', correlationId);
  runInContext({ correlationId, traceparent: continueTrace(request.get('traceparent')) }, next);
}
