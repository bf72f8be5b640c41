import type { INestApplication, Type } from '@nestjs/common';
import { ModulesContainer } from '@nestjs/core';
import type { NestExpressApplication } from '@nestjs/platform-express';
import type { NextFunction, Request, Response } from 'express';
import { incomingContext, runInContext } from '../observability/request-context.js';
import { Admission } from './admission.js';
import { configureServer } from './configure-server.js';
import { Connections } from './connections.js';
import { parseBody, receiveBody } from './json-body.js';
import { SECURITY_HEADERS } from './security-headers.js';
import { SchemaPipe } from './validation.js';

/** Gives an application request contexts, JSON bodies and connections with limits, and validation by schema. Express only. */
export function configureHttp(app: INestApplication): void {
  const express = app as NestExpressApplication;
  configureServer(express.getHttpServer(), ofMesh(app, Connections));
  express.disable('x-powered-by');
  // The request context comes first, so that a refused body is answered with its correlation id, too.
  app.use(beginRequestContext, receiveBody);
  const admission = ofMesh(app, Admission);
  if (admission)
    app.use((_request: Request, response: Response, next: NextFunction) => admission.enter(response, next));
  // After the wait for a slot: bytes take up less memory.
  app.use(parseBody);
  app.useGlobalPipes(new SchemaPipe());
}

/** A provider of the mesh; undefined in an application without a mesh, such as the first steps of the workshop. */
function ofMesh<T>(app: INestApplication, provider: Type<T>): T | undefined {
  const modules = [...app.get(ModulesContainer).values()];
  return modules.some(({ providers }) => providers.has(provider)) ? app.get(provider) : undefined;
}

/** Takes the correlation id and the trace of the request, or begins new ones; the response carries the id. */
function beginRequestContext(request: Request, response: Response, next: NextFunction): void {
  const context = incomingContext(request);
  response.setHeader('X-Correlation-Id', context.correlationId);
  for (const [name, value] of Object.entries(SECURITY_HEADERS)) response.setHeader(name, value);
  const hasHost = request.httpVersion !== '1.1' || request.get('host') !== undefined;
  const refused = hasHost ? undefined : Object.assign(new Error('Send the header Host'), { status: 400 });
  runInContext(context, () => next(refused));
}
