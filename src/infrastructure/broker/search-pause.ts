/** Shortest pause, in ms: most groups have room again within milliseconds. */
const MIN_MS = 50;
/** The share of the time that searches may take. */
const SHARE = 0.05;
/** Longest time, in ms, for which a search is put off because the full group had room again meanwhile. */
const MAX_DELAY_MS = 1000;

/**
 * The pause before a search beside a full group. While a group of consumers is full, a query of the outbox reads over all
 * of its messages in search of others.
 */
export class SearchPause {
  /** The times are on the clock of `performance.now()`. */
  private until = 0;
  /** When a search may no longer be put off. */
  private latest = 0;
  private queriedAt = -Infinity;
  private timer?: NodeJS.Timeout;

  get isOver(): boolean {
    return this.until <= performance.now();
  }

  /** A search has ended. @param searchMs how long it took */
  begin(searchMs: number): void {
    this.queriedAt = performance.now();
    this.until = this.queriedAt + Math.max(MIN_MS, searchMs / SHARE);
    this.latest = Math.max(this.until, this.queriedAt + MAX_DELAY_MS);
  }

  /** A query has ended that left no group out. While a group is served, the messages behind its own come without a search. */
  putOff(): void {
    const now = performance.now();
    if (now - this.queriedAt > MAX_DELAY_MS) this.latest = now + MAX_DELAY_MS;
    this.queriedAt = now;
    this.until = Math.min(Math.max(this.until, now + MIN_MS), this.latest);
  }

  /** Calls `action` when the pause is over, unless an action waits for that already. */
  whenOver(action: () => void): void {
    if (this.timer) return;
    const ring = () => {
      this.timer = undefined;
      action();
    };
    this.timer = setTimeout(ring, Math.max(1, this.until - performance.now()));
  }

  /** Forgets the action that waits. */
  cancel(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
  }
}
