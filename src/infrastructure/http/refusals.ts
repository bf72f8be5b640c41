import type { ServerResponse } from 'node:http';

import { SECURITY_HEADERS } from './security-headers.js';
import { MeshLogger } from '../observability/mesh-logger.js';

/** Refusing is work, too: a storm of requests gets an answer every so many ms, … */
const EVERY_MS = 2;
/** … after this time at the latest, in ms. */
const MAX_DELAY_MS = 1000;
/** Interval of log lines, in ms: one by one they would fill the log. */
const LOG_MS = 5000;
/** Longest `Retry-After`, in seconds. */
const MAX_RETRY_AFTER_S = 30;

const BODY = JSON.stringify({
  type: 'about:blank',
  title: 'Service unavailable',
  status: 503,
  detail: 'The application has more to do than it can: nothing was done, try again after Retry-After',
});
const HEADERS = {
  ...SECURITY_HEADERS,
  'Content-Type': 'application/problem+json; charset=utf-8',
  'Content-Length': Buffer.byteLength(BODY),
};

const refused = new WeakSet<ServerResponse>();

/** Whether a request was refused because there was too much to do: such requests are logged together. */
export function isExcess(response: ServerResponse): boolean {
  return refused.has(response);
}

/** Answers requests that are too many, with as little work as possible. */
export class Refusals {
  private readonly logger = new MeshLogger('Admission');
  private nextAt = 0;
  private count = 0;
  private loggedAt = -Infinity;

  /** Answers 503, later when many are refused. @param waitMs the wait that was expected */
  refuse(response: ServerResponse, waitMs: number, facts: object): void {
    const now = performance.now();
    refused.add(response);
    this.count++;
    if (now - this.loggedAt > LOG_MS) {
      this.logger.warn(
        { refused: this.count, ...facts, waitMs: Math.round(waitMs) },
        'Overload: requests were refused',
      );
      this.loggedAt = now;
      this.count = 0;
    }
    const retryAfterS = Math.min(MAX_RETRY_AFTER_S, Math.max(1, Math.ceil(waitMs / 1000)));
    this.nextAt = Math.min(Math.max(now, this.nextAt) + EVERY_MS, now + MAX_DELAY_MS);
    const answer = () => {
      if (response.headersSent || response.destroyed) return;
      response.writeHead(503, { ...HEADERS, 'Retry-After': retryAfterS }).end(BODY);
    };
    setTimeout(answer, this.nextAt - now);
  }
}
