import type { BatchPrelude, Unit } from '../unit.js';

/**
 * While messages wait, so many of their units run for each of a request. One request causes about a dozen messages:
 * with equal shares a full load of requests would be accepted faster than it is settled.
 */
const MESSAGES_PER_REQUEST = 12;

/** A unit of work that waits for its turn. */
export interface QueuedUnit {
  /** On the clock of `performance.now()`. */
  readonly submitted: number;
  readonly isMessage: boolean;
  readonly closesGroup: boolean;
  /** What it begins with, where it may share a savepoint, and be run again. */
  readonly prelude?: BatchPrelude<unknown, unknown>;
  readonly item?: unknown;
  run(unit: Unit, answer?: unknown): Promise<unknown>;
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

/** The units that wait, in their order; messages before requests, but for one in so many. */
export class UnitQueue {
  private messages: QueuedUnit[] = [];
  private requests: QueuedUnit[] = [];
  private closing: QueuedUnit[] = [];
  private isolated: QueuedUnit[] = [];
  private sinceRequest = 0;

  get length(): number {
    return this.messages.length + this.requests.length + this.closing.length + this.isolated.length;
  }

  /** Whether some are to have a group of their own. */
  get hasIsolated(): boolean {
    return this.isolated.length > 0;
  }

  add(job: QueuedUnit): void {
    (job.closesGroup ? this.closing : job.isMessage ? this.messages : this.requests).push(job);
  }

  /** Puts a unit before all others, with nobody else in its group. */
  isolate(job: QueuedUnit): void {
    this.isolated.push(job);
  }

  nextIsolated(): QueuedUnit | undefined {
    return this.isolated.shift();
  }

  /** What is to close a group. */
  nextClosing(): QueuedUnit | undefined {
    return this.closing.shift();
  }

  next(): QueuedUnit | undefined {
    const isRequestsTurn = this.messages.length === 0 || this.sinceRequest >= MESSAGES_PER_REQUEST;
    if (isRequestsTurn && this.requests.length > 0) {
      this.sinceRequest = 0;
      return this.requests.shift();
    }
    this.sinceRequest++;
    return this.messages.shift();
  }

  /** Those that begin as `job` does, and may go with it. */
  takeSamePrelude({ prelude }: QueuedUnit, limit: number): QueuedUnit[] {
    const isLimited = this.requests.length > 0;
    const most = isLimited ? Math.min(limit, MESSAGES_PER_REQUEST - this.sinceRequest) : limit;
    if (!prelude || most <= 0) return [];
    const found: QueuedUnit[] = [];
    const isFound = (it: QueuedUnit) => found.length < most && it.prelude === prelude && found.push(it) > 0;
    this.messages = this.messages.filter((it) => !isFound(it));
    this.sinceRequest += found.length;
    return found;
  }

  remove(isOut: (job: QueuedUnit) => boolean): QueuedUnit[] {
    const out = [...this.messages, ...this.requests, ...this.closing, ...this.isolated].filter(isOut);
    this.isolated = this.isolated.filter((job) => !isOut(job));
    this.closing = this.closing.filter((job) => !isOut(job));
    this.messages = this.messages.filter((job) => !isOut(job));
    this.requests = this.requests.filter((job) => !isOut(job));
    return out;
  }
}
