import { AsyncLocalStorage, AsyncResource } from 'node:async_hooks';
import { BatchSize } from '../batch-size.js';
import { DatabaseUnavailable } from '../sql.js';
import type { BatchPrelude, Unit } from '../unit.js';

/** A transaction holds its locks for about so long, in ms. */
const GOAL_MS = 20;
/** Transactions of a lane that are under way: while the database works for one, we work for the other. */
const MAX_TRANSACTIONS = 4;
/** What waits is shared out evenly among the transactions that may begin, unless that would make them shorter than this. */
const MIN_BATCH = 16;
/** The same where each unit has one of its own. */
const MAX_ISOLATED_TRANSACTIONS = 10;

/** A unit of work that waits for its turn in a lane. */
export interface BatchedUnit {
  readonly prelude: BatchPrelude<unknown, unknown>;
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
export class TransactionBatcher {
  private readonly queue: BatchedUnit[] = [];
  private readonly outside = AsyncLocalStorage.snapshot();
  private readonly size = new BatchSize(GOAL_MS);
  private inFlight = 0;
  private isWoken = false;

  /** @param runBatch runs jobs in one transaction; throws when nothing was kept */
  constructor(private readonly runBatch: (jobs: readonly BatchedUnit[]) => Promise<void>) {}

  add<T>(
    prelude: BatchPrelude<unknown, unknown>,
    item: unknown,
    work: (unit: Unit, answer: unknown) => Promise<T>,
  ): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const place = new AsyncResource('UnitOfWork');
      const run = (unit: Unit, answer: unknown) => place.runInAsyncScope(work, undefined, unit, answer);
      this.queue.push({ prelude, item, run, resolve: resolve, reject });
      if (this.isWoken) return;
      this.isWoken = true;
      // After the poll phase: whoever arrived with the same turn of the loop shares the transaction.
      this.outside(() => setImmediate(() => this.begin()));
    });
  }

  private begin(): void {
    this.isWoken = false;
    while (this.queue.length > 0) {
      const places = (this.size.isIsolated ? MAX_ISOLATED_TRANSACTIONS : MAX_TRANSACTIONS) - this.inFlight;
      if (places <= 0) return;
      this.inFlight++;
      const share = Math.max(MIN_BATCH, Math.ceil(this.queue.length / places));
      void this.runAndMeasure(this.queue.splice(0, Math.min(share, this.size.now))).finally(() => {
        this.inFlight--;
        this.begin();
      });
    }
  }

  /** It never throws. */
  private async runAndMeasure(jobs: readonly BatchedUnit[]): Promise<void> {
    const began = performance.now();
    try {
      await this.runBatch(jobs);
    } catch (error) {
      return this.failed(jobs, error);
    }
    this.size.succeeded(jobs.length, performance.now() - began);
  }

  /** Nothing of a transaction was kept. Whose fault it was shows when each is alone. */
  private async failed(jobs: readonly BatchedUnit[], error: unknown): Promise<void> {
    if (jobs.length === 1 || error instanceof DatabaseUnavailable) {
      for (const job of jobs) job.reject(error);
      return;
    }
    this.size.failed();
    await Promise.all(jobs.map((job) => this.runBatch([job]).catch((own: unknown) => job.reject(own))));
  }
}
