import type { IncomingMessage, ServerResponse } from 'node:http';
import { inspect } from 'node:util';
import { incomingContext } from '../../src/infrastructure/observability/request-context.js';
import { printable } from '../../src/infrastructure/observability/printable.js';
import { ErrorAnswer, Unreachable } from './aggregator.js';
import { SECURITY_HEADERS } from '../../src/infrastructure/http/security-headers.js';

/** A request and its response. */
export interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly method: string;
  /** The path without the query. */
  readonly path: string;
  readonly query: string;
  /** The client's correlation id, or a new one; used in answers of the gateway itself. */
  readonly correlationId: string;
}

export function exchange(request: IncomingMessage, response: ServerResponse): Exchange {
  const [path = '', query = ''] = (request.url ?? '').split(/\?(.*)/s, 2);
  const { correlationId } = incomingContext(request);
  return { request, response, method: request.method ?? '', path, query, correlationId };
}

/** The headers of a request to several processes. */
export function passedOn({ correlationId, request: { headers } }: Exchange): Record<string, string> {
  const given = Object.entries({
    authorization: headers.authorization,
    cookie: headers.cookie,
    'x-mesh-console': headers['x-mesh-console']?.toString(),
  });
  const present = given.filter((it): it is [string, string] => it[1] !== undefined);
  return { 'x-correlation-id': correlationId, ...Object.fromEntries(present) };
}

/* Answers of the gateway itself have the same form as those of a module. */

export function sendJson({ response, correlationId }: Exchange, status: number, body: unknown): void {
  response.setHeader('X-Correlation-Id', correlationId);
  for (const [name, value] of Object.entries(SECURITY_HEADERS)) response.setHeader(name, value);
  if (status === 204) return void response.writeHead(204).end();
  const text = JSON.stringify(body);
  if (!response.hasHeader('Content-Type')) response.setHeader('Content-Type', 'application/json; charset=utf-8');
  response.writeHead(status, { 'Content-Length': Buffer.byteLength(text) }).end(text);
}

/** Sends a text with status 200. */
export function sendText({ response, correlationId }: Exchange, type: string, text: string): void {
  response.setHeader('X-Correlation-Id', correlationId);
  for (const [name, value] of Object.entries(SECURITY_HEADERS)) response.setHeader(name, value);
  response.writeHead(200, { 'Content-Type': type, 'Content-Length': Buffer.byteLength(text) }).end(text);
}

const TITLES = {
  400: 'Malformed request',
  403: 'Not allowed',
  404: 'Not found',
  405: 'Method not allowed',
  409: 'Conflict',
  500: 'Internal error',
  503: 'Service unavailable',
};

/** Sends a problem document (RFC 9457). */
export function sendProblem(to: Exchange, status: keyof typeof TITLES, detail: string): void {
  const { path: instance, correlationId, response } = to;
  response.setHeader('Content-Type', 'application/problem+json; charset=utf-8');
  if (status === 503) response.setHeader('Retry-After', '1');
  sendJson(to, status, { type: 'about:blank', title: TITLES[status], status, detail, instance, correlationId });
}

/** @param allowed the methods of the path, if there are any: then the answer is 405 */
export function sendNotFound(to: Exchange, allowed: readonly string[] = []): void {
  if (allowed.length === 0) return sendProblem(to, 404, `Cannot ${to.method} ${to.request.url}`);
  to.response.setHeader('Allow', allowed.join(', '));
  sendProblem(to, 405, `Cannot ${to.method} ${to.path}`);
}

/** Answers a request that failed. */
export function sendError(to: Exchange, error: unknown): void {
  if (to.response.headersSent || to.response.destroyed) return void to.response.destroy();
  if (error instanceof Unreachable) return sendProblem(to, 503, error.message);
  if (error instanceof ErrorAnswer) {
    const { status, body } = error.answer;
    to.response.setHeader('Content-Type', 'application/problem+json; charset=utf-8');
    return sendJson(to, status, { ...body, instance: to.path });
  }
  console.error(printable(inspect(error)));
  sendProblem(to, 500, 'The gateway failed');
}
