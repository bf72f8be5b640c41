/** Shortest pause, in ms: most groups have room again within milliseconds. */
const MIN_MS = 50;
/** The share of the time that searches may take. */
const SHARE = 0.05;

/**
 * The pause before a search beside a full group. While a group of consumers is full, a query of the outbox reads over all
 * of its messages in search of others.
 */
export class SearchPause {
  /** On the clock of `performance.now()`. */
  private until = 0;
  private timer?: NodeJS.Timeout;

  get isOver(): boolean {
    return this.until <= performance.now();
  }

  /** A query has ended. @param searchMs how long it searched beside a full group */
  begin(searchMs: number): void {
    this.until = performance.now() + Math.max(MIN_MS, searchMs / SHARE);
  }

  /** Calls `action` when the pause is over, in place of an earlier action that is not yet due. */
  whenOver(action: () => void): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(action, Math.max(1, this.until - performance.now()));
  }

  /** Forgets the action that is not yet due. */
  cancel(): void {
    clearTimeout(this.timer);
  }
}
