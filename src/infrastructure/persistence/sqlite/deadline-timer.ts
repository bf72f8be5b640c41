import { UNIT_LIMIT_MS, UnitTimedOut } from '../sql.js';

/** How often the running unit is checked, in ms. */
const CHECK_MS = 25;

/** Stops waiting for a unit that takes too long. Units run one after the other, so one timer serves all of them. */
export class DeadlineTimer {
  private timer?: NodeJS.Timeout;
  private started = Infinity;
  private onTimeout: (error: Error) => void = () => undefined;

  begin(): void {
    this.timer = setInterval(() => {
      if (performance.now() - this.started > UNIT_LIMIT_MS) this.onTimeout(new UnitTimedOut());
    }, CHECK_MS);
  }

  end(): void {
    clearInterval(this.timer);
  }

  /** @throws UnitTimedOut when `work` takes too long from `started` on, or what `work` throws */
  limit<T>(work: Promise<T>, started: number): Promise<T> {
    this.started = started;
    return new Promise((resolve, reject) => {
      this.onTimeout = reject;
      work.then(resolve, reject);
    });
  }
}
