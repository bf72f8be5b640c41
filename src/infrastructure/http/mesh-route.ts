import type { IncomingMessage, ServerResponse } from 'node:http';
import type { z } from 'zod';

/** The injection token of the routes of the mesh, a list of `MeshRoute`. */
export const MESH_ROUTES = Symbol('MESH_ROUTES');

/** Decides who may use a route. */
export interface RouteGuard {
  /** @throws an error of domain-errors.ts, Unauthorized or KeysUnavailable when the request may not */
  authorize(request: IncomingMessage): void | Promise<void>;
}

export interface RouteInput<Params, Query> {
  readonly params: Params;
  readonly query: Query;
  /** The JSON of a route with `takesBody`. */
  readonly body: unknown;
  readonly request: IncomingMessage;
  /** For headers of the answer, and for an answer that goes on. */
  readonly response: ServerResponse;
}

/**
 * A route of the mesh. It isn't a route of the application: the prefix, version, guards, pipes, interceptors and filters of
 * the application don't apply to it, whether Express or Fastify serves it.
 */
export interface MeshRoute<Params = never, Query = never> {
  readonly method: 'GET' | 'POST' | 'DELETE';
  /** With parameters such as `:id`, one for a path segment. */
  readonly path: string;
  /** For the API page. */
  readonly summary: string;
  /** Without one, anyone may use the route. */
  readonly guard?: RouteGuard;
  readonly params?: z.ZodType<Params>;
  /** The query parameters that it knows; others are refused. Without it there are none. */
  readonly query?: z.ZodType<Query> & { readonly shape: object };
  readonly takesBody?: boolean;
  /** Of an answer without an error; 200 by default. An answer with 204 has no body. */
  readonly status?: number;
  /** Whether it is also served on the public port where the mesh has a port of its own. */
  readonly isPublic?: boolean;
  /** Of an answer that is a text. */
  readonly contentType?: string;
  /** Instead of those that every answer has. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Whether it is for the console only, and not on the API page. */
  readonly isHidden?: boolean;
  /** @returns the body of the answer, as JSON, or a text; nothing when it has begun the answer itself */
  handle(input: RouteInput<Params, Query>): Promise<object | string | void>;
}

/** Gives the handler of a route the types of its schemas. */
export function meshRoute<Params, Query>(route: MeshRoute<Params, Query>): MeshRoute {
  return route as unknown as MeshRoute;
}
