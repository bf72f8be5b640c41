/** A timer that rings at the earliest of the times it was set to: setting a later one costs nothing. */
export class EarliestTimer {
  private timer?: NodeJS.Timeout;
  /** On the clock of `performance.now()`. */
  private at = 0;

  constructor(private readonly ring: () => void) {}

  /** @param ms from now; Infinity sets nothing */
  set(ms: number): void {
    if (ms === Infinity) return;
    const delay = Math.max(1, ms);
    const at = performance.now() + delay;
    if (this.timer && this.at <= at) return;
    this.cancel();
    this.at = at;
    this.timer = setTimeout(() => {
      this.timer = undefined;
      this.ring();
    }, delay);
  }

  cancel(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
  }
}
