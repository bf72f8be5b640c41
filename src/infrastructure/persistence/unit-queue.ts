import type { Unit } from './unit.js';

/**
 * While messages wait, so many of their units run for each of a request. One request causes about a dozen messages:
 * with equal shares a full load of requests would be accepted faster than it is settled.
 */
const MESSAGES_PER_REQUEST = 12;

/** A unit of work that waits for its turn. */
export interface Job {
  /** On the clock of `performance.now()`. */
  readonly submitted: number;
  readonly isMessage: boolean;
  readonly closesGroup: boolean;
  run(unit: Unit): Promise<unknown>;
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

/** The units that wait, in their order; messages before requests, but for one in so many. */
export class UnitQueue {
  private messages: Job[] = [];
  private requests: Job[] = [];
  private closing: Job[] = [];
  private sinceRequest = 0;

  get length(): number {
    return this.messages.length + this.requests.length + this.closing.length;
  }

  add(job: Job): void {
    (job.closesGroup ? this.closing : job.isMessage ? this.messages : this.requests).push(job);
  }

  /** What is to close a group. */
  last(): Job | undefined {
    return this.closing.shift();
  }

  next(): Job | undefined {
    const isRequestsTurn = this.messages.length === 0 || this.sinceRequest >= MESSAGES_PER_REQUEST;
    if (isRequestsTurn && this.requests.length > 0) {
      this.sinceRequest = 0;
      return this.requests.shift();
    }
    this.sinceRequest++;
    return this.messages.shift();
  }

  remove(isOut: (job: Job) => boolean): Job[] {
    const out = [...this.messages, ...this.requests, ...this.closing].filter(isOut);
    this.closing = this.closing.filter((job) => !isOut(job));
    this.messages = this.messages.filter((job) => !isOut(job));
    this.requests = this.requests.filter((job) => !isOut(job));
    return out;
  }
}
