import { AsyncLocalStorage } from 'node:async_hooks';
import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { randomBytes } from './random-bytes.js';

/** What connects a request or message with everything that it causes. */
export interface RequestContext {
  /** Equal in all requests, messages and log lines with the same origin. */
  readonly correlationId: string;
  /** The id of the message that is being handled. */
  readonly causationId?: string;
  /** W3C Trace Context of the caller. */
  readonly traceparent: string;
  /** The module that handles a message: the source of the messages that it sends. */
  readonly module?: string;
}

const current = new AsyncLocalStorage<RequestContext>();

/** The request context of the calling code, if it runs in one. */
export function requestContext(): RequestContext | undefined {
  return current.getStore();
}

export function runInContext<T>(context: RequestContext, work: () => T): T {
  return current.run(context, work);
}

/** The context of an HTTP request: its correlation id and its trace if they are well formed, or new ones. */
export function incomingContext({ headers }: IncomingMessage): RequestContext {
  const given = String(headers['x-correlation-id'] ?? '');
  const correlationId = /^[\w.:-]{1,64}$/.test(given) ? given : randomUUID();
  return { correlationId, traceparent: continueTrace(headers.traceparent as string | undefined) };
}

const TRACEPARENT = /^00-((?!0{32})[0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})$/;

/** Whether a text is a `traceparent` of W3C Trace Context, version 00. */
export function isTraceparent(text: string | undefined): text is string {
  return TRACEPARENT.test(text ?? '');
}

/** A `traceparent` with a new span id: in the trace of `parent` if that is well formed, else in a new trace. */
export function continueTrace(parent?: string): string {
  const trace = TRACEPARENT.exec(parent ?? '');
  return `00-${trace?.[1] ?? randomHex(16)}-${randomHex(8)}-${trace?.[2] ?? '01'}`;
}

/** Random bytes in hex. An id of zeros is invalid, but comes once in 2^64 times. */
function randomHex(howMany: number): string {
  return randomBytes(howMany).toString('hex');
}
