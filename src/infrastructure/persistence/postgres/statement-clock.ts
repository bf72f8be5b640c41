import { PartlyUnavailable, UNIT_LIMIT_MS, UnitTimedOut } from '../sql.js';

/**
 * Tells whether a unit timed out because of the database. It did when the answers took more than half of its time, and so
 * many statements that do nothing would have taken half of the limit. So a unit counts as slow itself when it waits for
 * something else, computes, has one slow query, or has very many quick ones: repeated, it would time out again.
 */
export class StatementClock {
  private readonly began = performance.now();
  private statements = 0;
  private pending = 0;
  private pendingSince = 0;
  private waitedMs = 0;

  /** @param emptyMs how long the database took for the BEGIN of the transaction: the network, and a server without time */
  constructor(private readonly emptyMs: number) {}

  /** Whether a statement isn't answered yet. */
  get isWaiting(): boolean {
    return this.pending > 0;
  }

  /** Adds the wait for the answer to a statement. Statements that overlap are answered one after the other. */
  add(answer: Promise<unknown>): void {
    this.statements++;
    if (this.pending++ === 0) this.pendingSince = performance.now();
    const answered = () => {
      if (--this.pending === 0) this.waitedMs += performance.now() - this.pendingSince;
    };
    answer.then(answered, answered);
  }

  /** @returns PartlyUnavailable for a time-out that the database caused, else `error` */
  causeOf(error: unknown): unknown {
    if (!(error instanceof UnitTimedOut)) return error;
    const now = performance.now();
    const waitedMs = this.waitedMs + (this.pending > 0 ? now - this.pendingSince : 0);
    const isSlow = waitedMs > (now - this.began) / 2 && this.statements * this.emptyMs > UNIT_LIMIT_MS / 2;
    if (!isSlow) return error;
    const [waited, empty] = [waitedMs, this.emptyMs].map(Math.round);
    return new PartlyUnavailable(
      `The database is slow: a unit of work waited ${waited} ms for the answers to ${this.statements} statements, and ` +
        `${empty} ms for its BEGIN`,
      { cause: error },
    );
  }
}
