import type { IncomingMessage, ServerResponse } from 'node:http';
import { Inject, Injectable } from '@nestjs/common';
import { NotFound } from '../contracts/domain-errors.js';
import { incomingContext, runInContext } from '../observability/request-context.js';
import { readJson } from './json-body.js';
import { MESH_ROUTES, type MeshRoute } from './mesh-route.js';
import { isWorthLogging, PROBLEM_TYPE, problemOf } from './problem.js';
import { SECURITY_HEADERS } from './security-headers.js';
import { knownParameters } from './strict-request.js';
import { validated } from './validation.js';
import { MeshLogger } from '../observability/mesh-logger.js';

/** A port that serves routes: the one of the mesh or of both, or the public one where the mesh has a port of its own. */
export type Port = 'mesh' | 'public';

/** Longest part of a path in a log line, in characters: a path may have 16 KB. */
export const MAX_LOGGED_PATH = 300;

interface Answer {
  readonly status: number;
  readonly body: object | string | void;
  readonly contentType: string;
  readonly headers?: Readonly<Record<string, string>>;
}

interface Match {
  readonly route: MeshRoute;
  readonly params: Record<string, string>;
}

/** Answers requests to the routes of the mesh, without the router of the application. */
@Injectable()
export class MeshRouter {
  private readonly logger = new MeshLogger('Mesh');
  private readonly patterns: { readonly route: MeshRoute; readonly pattern: RegExp }[];

  constructor(@Inject(MESH_ROUTES) readonly routes: readonly MeshRoute[]) {
    this.patterns = routes.map((route) => ({ route, pattern: patternOf(route.path) }));
  }

  /** @returns false, having done nothing, when the port has no route with this path */
  take(request: IncomingMessage, response: ServerResponse, port: Port): boolean {
    const { pathname } = splitUrl(request);
    const matches = this.matching(pathname, port);
    if (matches.length === 0) return false;
    void this.answer(request, response, () => this.call(request, response, matches));
    return true;
  }

  /** Answers with a problem document: 404, unless there is another problem. */
  refuse(request: IncomingMessage, response: ServerResponse, problem?: Error): void {
    const missing = new NotFound(`Cannot ${request.method} ${splitUrl(request).pathname}`);
    void this.answer(request, response, () => Promise.reject(problem ?? missing));
  }

  private matching(pathname: string, port: Port): Match[] {
    return this.patterns.flatMap(({ route, pattern }) => {
      const found = port === 'public' && !route.isPublic ? null : pattern.exec(pathname);
      return found ? [{ route, params: { ...found.groups } }] : [];
    });
  }

  private async answer(request: IncomingMessage, response: ServerResponse, call: () => Promise<Answer>): Promise<void> {
    const context = incomingContext(request);
    const headers = { ...SECURITY_HEADERS, 'X-Correlation-Id': context.correlationId };
    await runInContext(context, async () => {
      try {
        const { status, body, contentType, headers: own } = await call();
        if (response.headersSent) return;
        send(response, status, body, { ...headers, ...own, ...(body && { 'Content-Type': contentType }) });
      } catch (error) {
        const { problem, headers: more } = problemOf(error, splitUrl(request).pathname);
        this.log(request, problem.status, isWorthLogging(error, problem) ? error : undefined);
        const allow = error instanceof MethodNotAllowed && { Allow: error.allowed };
        send(response, problem.status, problem, { ...headers, ...more, ...allow, 'Content-Type': PROBLEM_TYPE });
      }
    });
  }

  private async call(request: IncomingMessage, response: ServerResponse, matches: readonly Match[]): Promise<Answer> {
    const method = request.method === 'HEAD' ? 'GET' : request.method;
    const match = matches.find(({ route }) => route.method === method);
    if (!match) throw new MethodNotAllowed(request, matches);
    const { route, params } = match;
    const { status = 200, contentType = 'application/json; charset=utf-8', headers } = route;
    await route.guard?.authorize(request);
    const { pathname, search } = splitUrl(request);
    const parameters = knownParameters(request, search, Object.keys(route.query?.shape ?? {}), route.takesBody);
    const input = {
      params: (route.params ? await validated(route.params, decoded(params, pathname)) : {}) as never,
      query: (route.query ? await validated(route.query, parameters) : {}) as never,
      body: route.takesBody ? await readJson(request, response) : undefined,
      request,
      response,
    };
    const body = await route.handle(input);
    // Queries change nothing.
    if (method !== 'GET' && !route.takesBody) this.log(request, status);
    return { status, body, contentType, ...(headers && { headers }) };
  }

  /** Without the query string and the text of an error that a client causes: they may hold data of users. */
  private log(request: IncomingMessage, statusCode: number, error?: unknown): void {
    const { method, socket } = request;
    const url = splitUrl(request).pathname.slice(0, MAX_LOGGED_PATH);
    const facts = { req: { method, url, address: socket.remoteAddress }, res: { statusCode } };
    if (error) this.logger.error({ ...facts, err: error }, 'Request failed');
    else if (statusCode >= 400) this.logger.warn(facts, 'Request refused');
    else this.logger.log(facts, 'Request completed');
  }
}

class MethodNotAllowed extends Error {
  readonly status = 405;
  readonly allowed: string;

  constructor(request: IncomingMessage, matches: readonly Match[]) {
    super(`Cannot ${request.method} ${splitUrl(request).pathname}`);
    const methods = matches.map(({ route }) => route.method);
    const all = new Set<string>(methods.includes('GET') ? [...methods, 'HEAD'] : methods);
    this.allowed = [...all].sort().join(', ');
  }
}

/** Routes are matched by one spelling only, but for a slash at the end. */
function patternOf(path: string): RegExp {
  return new RegExp(`^${path.replace(/:(\w+)/g, '(?<$1>[^/]+)')}/?$`);
}

function splitUrl({ url = '' }: IncomingMessage): { pathname: string; search: string } {
  const at = url.indexOf('?');
  return at < 0 ? { pathname: url, search: '' } : { pathname: url.slice(0, at), search: url.slice(at + 1) };
}

function decoded(params: Record<string, string>, pathname: string): Record<string, string> {
  try {
    return Object.fromEntries(Object.entries(params).map(([name, value]) => [name, decodeURIComponent(value)]));
  } catch {
    throw Object.assign(new Error(`The path ${pathname} is not encoded as it should be`), { status: 400 });
  }
}

function send(
  response: ServerResponse,
  status: number,
  body: object | string | void,
  headers: Record<string, string>,
): void {
  if (response.headersSent || response.destroyed) return void response.destroy();
  if (body === undefined) return void response.writeHead(status, headers).end();
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  response.writeHead(status, { ...headers, 'Content-Length': Buffer.byteLength(text) }).end(text);
}
