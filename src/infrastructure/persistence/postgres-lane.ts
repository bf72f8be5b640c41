import { AsyncLocalStorage, AsyncResource } from 'node:async_hooks';
import { DatabaseUnavailable } from './sql.js';
import type { Opening, Unit } from './unit.js';

/** Units that share a transaction, at most: so many that its own statements weigh little beside theirs. */
const LONGEST = 64;
/** A transaction holds its locks for about so long, in ms. */
const GOAL_MS = 20;
/** Transactions of a lane that are under way: while the database works for one, we work for the other. */
const AT_ONCE = 3;
/** The same where each unit has one of its own. */
const APART = 10;
/** For how long units stay apart after a transaction of several has failed: doubled with every failure; in ms. */
const SHORTEST_MS = 500;
const LONGEST_MS = 30_000;

/** A unit of work that waits for its turn in a lane. */
export interface LaneJob {
  readonly opening: Opening<unknown, unknown>;
  readonly item: unknown;
  run(unit: Unit, answer: unknown): Promise<unknown>;
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

/**
 * Units of work that share transactions, as many as are there. Transactions that write many rows meet at the same ones
 * sooner or later, and then they wait for each other, in a ring at worst; and what fails takes its neighbours along.
 * After that each unit has a transaction of its own for a while.
 */
export class PostgresLane {
  private readonly queue: LaneJob[] = [];
  private readonly outside = AsyncLocalStorage.snapshot();
  private length = 4;
  private underWay = 0;
  private isWoken = false;
  private apartUntil = 0;
  private apartMs = SHORTEST_MS;

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
      if (this.isWoken) return;
      this.isWoken = true;
      // After the poll phase: whoever arrived with the same turn of the loop shares the transaction.
      this.outside(() => setImmediate(() => this.begin()));
    });
  }

  private begin(): void {
    this.isWoken = false;
    while (this.queue.length > 0) {
      const isApart = performance.now() < this.apartUntil;
      if (this.underWay >= (isApart ? APART : AT_ONCE)) return;
      this.underWay++;
      void this.handle(this.queue.splice(0, isApart ? 1 : this.length)).finally(() => {
        this.underWay--;
        this.begin();
      });
    }
  }

  /** It never throws. */
  private async handle(jobs: readonly LaneJob[]): Promise<void> {
    const began = performance.now();
    try {
      await this.together(jobs);
    } catch (error) {
      return this.failed(jobs, error);
    }
    const ms = performance.now() - began;
    if (ms > 2 * GOAL_MS) this.length = Math.ceil(this.length / 2);
    else if (ms < GOAL_MS && jobs.length === this.length) this.length = Math.min(LONGEST, this.length * 2);
    if (jobs.length > 1) this.apartMs = Math.max(SHORTEST_MS, this.apartMs / 2);
  }

  /** Nothing of a transaction was kept. Whose fault it was shows when each is alone. */
  private async failed(jobs: readonly LaneJob[], error: unknown): Promise<void> {
    if (jobs.length === 1 || error instanceof DatabaseUnavailable) {
      for (const job of jobs) job.reject(error);
      return;
    }
    this.apartUntil = performance.now() + this.apartMs;
    this.apartMs = Math.min(LONGEST_MS, this.apartMs * 2);
    await Promise.all(jobs.map((job) => this.together([job]).catch((own: unknown) => job.reject(own))));
  }
}
