import { AsyncLocalStorage } from 'node:async_hooks';
import { randomFillSync } from 'node:crypto';

/** What a request or message brings along, so that everything it causes can be found again. */
export interface RequestContext {
  /** The same in every request, message and log line that belongs together. */
  readonly correlationId: string;
  /** The id of the message that is being handled. */
  readonly causationId?: string;
  /** W3C Trace Context of whoever called. */
  readonly traceparent: string;
  /** The module whose code runs; it becomes the source of what it sends. */
  module?: string;
}

const current = new AsyncLocalStorage<RequestContext>();

/** The journey of the calling code, if it is on one. */
export function requestContext(): RequestContext | undefined {
  return current.getStore();
}

/** Runs `work` on a journey. */
export function runInContext<T>(of: RequestContext, work: () => T): T {
  return current.run(of, work);
}

/** A trace's continuation: the trace id of `parent` when that is well formed, else a new one, and a new span. */
export function continueTrace(parent?: string): string {
  const trace = /^00-((?!0{32})[0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})$/.exec(parent ?? '');
  return `00-${trace?.[1] ?? randomHex(16)}-${randomHex(8)}-${trace?.[2] ?? '01'}`;
}

/** Asking the system for random bytes costs more than the rest of a message: many at a time. */
const stock = Buffer.alloc(4096);
let used = stock.length;

/** So many random bytes in hex; all zero once in 2^64 times, which nobody has to fear. */
function randomHex(bytes: number): string {
  if (used + bytes > stock.length) {
    randomFillSync(stock);
    used = 0;
  }
  return stock.toString('hex', used, (used += bytes));
}
