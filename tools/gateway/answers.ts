import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';

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
  const given = String(request.headers['x-correlation-id'] ?? '');
  const correlationId = /^[\w.:-]{1,64}$/.test(given) ? given : randomUUID();
  return { request, response, method: request.method ?? '', path, query, correlationId };
}

/* Answers of the gateway itself have the same form as those of a module. */

export function sendJson({ response, correlationId }: Exchange, status: number, body: unknown): void {
  response.setHeader('X-Correlation-Id', correlationId);
  if (status === 204) return void response.writeHead(204).end();
  const text = JSON.stringify(body);
  if (!response.hasHeader('Content-Type')) response.setHeader('Content-Type', 'application/json; charset=utf-8');
  response.writeHead(status, { 'Content-Length': Buffer.byteLength(text) }).end(text);
}

const TITLES = { 400: 'Malformed request', 404: 'Not found', 500: 'Internal error', 503: 'Service unavailable' };

/** Sends a problem document (RFC 9457). */
export function sendProblem(to: Exchange, status: keyof typeof TITLES, detail: string): void {
  const { path: instance, correlationId, response } = to;
  response.setHeader('Content-Type', 'application/problem+json; charset=utf-8');
  if (status === 503) response.setHeader('Retry-After', '1');
  sendJson(to, status, { type: 'about:blank', title: TITLES[status], status, detail, instance, correlationId });
}

export function sendNotFound(to: Exchange): void {
  sendProblem(to, 404, `Cannot ${to.method} ${to.request.url}`);
}
