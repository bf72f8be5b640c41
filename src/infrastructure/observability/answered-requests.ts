import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { IncomingMessage, ServerResponse } from 'node:http';

const METHODS = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'HEAD', 'OPTIONS'];

/** The labels of a request. Clients can't add values: unknown methods are `other`, and paths are left out. */
export interface RequestLabels {
  readonly part: string;
  readonly method: string;
  readonly status: string;
}

/** Node reports the requests of all HTTP servers of the process. @returns a function that stops listening */
export function onAnswer(answered: (labels: RequestLabels, ms: number) => void): () => void {
  const begun = new WeakMap<IncomingMessage, number>();
  const start = (it: unknown) => void begun.set((it as { request: IncomingMessage }).request, performance.now());
  const finish = (it: unknown) => {
    const { request, response } = it as { request: IncomingMessage; response: ServerResponse };
    const method = METHODS.find((known) => known === request.method) ?? 'other';
    const part = /^\/(mesh|health)\b/.exec(request.url ?? '')?.[1] ?? 'application';
    const ms = performance.now() - (begun.get(request) ?? NaN);
    answered({ part, method, status: String(response.statusCode) }, ms);
  };
  subscribe('http.server.request.start', start);
  subscribe('http.server.response.finish', finish);
  return () => {
    unsubscribe('http.server.request.start', start);
    unsubscribe('http.server.response.finish', finish);
  };
}
