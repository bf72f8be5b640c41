import { setTimeout as wait } from 'node:timers/promises';
import { Agent } from 'undici';
import type { Action, Ledger } from './ledger.js';
import type { Random } from './random.js';

/** Longest wait for an answer, in ms. */
export const REQUEST_TIMEOUT_MS = 15_000;
/** The pause before a user repeats a request, in ms. */
const RETRY_AFTER_MS = [100, 700] as const;

export interface Answer<Body = unknown> {
  /** 0 when there was no answer. */
  readonly status: number;
  readonly body?: Body;
}

/** The HTTP requests of users, repeated with the same idempotency key until they are answered. */
export class UserRequests {
  /** Set when all faults are over. From then on an answer of 500 or above is a surprise. */
  hasRecovered = false;
  /** Unset at the end of a run: users stop repeating their requests. */
  mayRetry = true;
  private readonly agent = new Agent({
    connections: 128,
    headersTimeout: REQUEST_TIMEOUT_MS,
    bodyTimeout: REQUEST_TIMEOUT_MS,
  });
  private keys = 0;

  constructor(
    private readonly urls: readonly string[],
    private readonly ledger: Ledger,
    private readonly random: Random,
  ) {}

  async close(): Promise<void> {
    await this.agent.destroy();
  }

  /** @returns a new idempotency key */
  newKey(): string {
    return `faults-${++this.keys}-${Math.floor(this.random.between(0, 1e9))}`;
  }

  async pause(): Promise<void> {
    await wait(this.random.between(...RETRY_AFTER_MS));
  }

  /**
   * Sends a POST until it succeeds.
   * @returns undefined when the user gives up
   * @throws Error for an answer that no user should get, or when the run ends before a success
   */
  async postUntilAccepted<Body>(
    action: Action,
    path: string,
    body?: object,
    { key, givesUp = false }: { key?: string; givesUp?: boolean } = {},
  ): Promise<Answer<Body> | undefined> {
    let answer: Answer<Body> = { status: 0 };
    while (this.mayRetry) {
      answer = await this.send<Body>('POST', path, body, key);
      if (isSuccess(answer)) return answer;
      if (!isRetryable(answer)) throw unexpectedAnswer(`${path} (${action})`, answer);
      if (givesUp) return undefined;
      await this.pause();
    }
    throw unexpectedAnswer(`${path} (${action}) until the end`, answer);
  }

  /** Sends one request. Never throws. */
  async send<Body>(method: 'GET' | 'POST', path: string, body?: object, key?: string): Promise<Answer<Body>> {
    const { hasRecovered } = this;
    try {
      const answer = await this.agent.request({
        origin: this.random.pick(this.urls),
        method,
        path,
        signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
        headers: { 'content-type': 'application/json', ...(key && { 'idempotency-key': key }) },
        ...(body && { body: JSON.stringify(body) }),
      });
      const text = await answer.body.text();
      if (hasRecovered && answer.statusCode >= 500) {
        this.ledger.recordSurprise(`${method} ${path} after recovery: ${answer.statusCode} ${text.slice(0, 200)}`);
      }
      const isJson = /json/.test(String(answer.headers['content-type']));
      return { status: answer.statusCode, ...(isJson && { body: JSON.parse(text) as Body }) };
    } catch {
      return { status: 0 };
    }
  }
}

export function isSuccess({ status, body }: Answer): boolean {
  // An answer whose body was cut off doesn't count as one.
  return status >= 200 && status < 300 && body !== undefined;
}

/** Whether a repeated request may succeed: no answer, a server error, or the same request is in flight (409). */
export function isRetryable({ status }: Answer): boolean {
  return status < 300 || status >= 500 || status === 409;
}

export function unexpectedAnswer(what: string, answer: Answer): Error {
  return new Error(`${what}: ${summaryOf(answer)}`);
}

export function summaryOf({ status, body }: Answer): string {
  return `${status} ${JSON.stringify(body ?? '').slice(0, 200)}`;
}
