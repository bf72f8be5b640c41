import { AsyncLocalStorage, AsyncResource } from 'node:async_hooks';
import { DatabaseUnavailable } from './sql.js';
import type { Opening, Unit } from './unit.js';

/** Units that share a transaction, at most: so many that its own statements weigh little beside theirs. */
const LONGEST = 64;
/** A transaction holds its locks for about so long, in ms. */
const GOAL_MS = 20;

/** A unit of work that waits for its turn in a lane. */
export interface LaneJob {
  readonly opening: Opening<unknown, unknown>;
  readonly item: unknown;
  run(unit: Unit, answer: unknown): Promise<unknown>;
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

/**
 * Units of work that run one after the other and share transactions: as many as are there, as long as that goes well. A
 * lane has one transaction at a time, so that its units can't wait for each other's locks in a ring.
 */
export class PostgresLane {
  private readonly queue: LaneJob[] = [];
  private readonly outside = AsyncLocalStorage.snapshot();
  private length = 4;
  private isBusy = false;

  /** @param together runs jobs in one transaction; throws when nothing was kept */
  constructor(private readonly together: (jobs: readonly LaneJob[]) => Promise<void>) {}

  add<T>(
    opening: Opening<unknown, unknown>,
    item: unknown,
    work: (unit: Unit, answer: unknown) => Promise<T>,
  ): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const place = new AsyncResource('UnitOfWork');
      const run = (unit: Unit, answer: unknown) => place.runInAsyncScope(work, undefined, unit, answer);
      this.queue.push({ opening, item, run, resolve: resolve, reject });
      if (this.isBusy) return;
      this.isBusy = true;
      // After the poll phase: whoever arrived with the same turn of the loop shares the transaction.
      this.outside(() => setImmediate(() => void this.drain()));
    });
  }

  private async drain(): Promise<void> {
    while (this.queue.length > 0) {
      const jobs = this.queue.splice(0, this.length);
      const began = performance.now();
      try {
        await this.together(jobs);
        const ms = performance.now() - began;
        this.length =
          ms > 2 * GOAL_MS ? Math.ceil(this.length / 2) : Math.min(LONGEST, this.length + (ms < GOAL_MS ? 8 : 0));
      } catch (error) {
        await this.oneByOne(jobs, error);
      }
    }
    this.isBusy = false;
  }

  /** Nothing of a transaction was kept. Whose fault it was shows when each is alone. */
  private async oneByOne(jobs: readonly LaneJob[], error: unknown): Promise<void> {
    if (jobs.length === 1 || error instanceof DatabaseUnavailable) {
      for (const job of jobs) job.reject(error);
      return;
    }
    this.length = 1;
    for (const job of jobs) await this.together([job]).catch((own: unknown) => job.reject(own));
  }
}
