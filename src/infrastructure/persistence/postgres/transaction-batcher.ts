import { AsyncLocalStorage, AsyncResource } from 'node:async_hooks';
import { BatchSize } from '../batch-size.js';
import type { BatchedUnit } from '../batched-units.js';
import { DatabaseUnavailable, PartlyUnavailable } from '../sql.js';
import type { JointWork, BatchPrelude, Unit } from '../unit.js';

/** How long a transaction should take, because it holds its locks for that time; in ms. */
const GOAL_MS = 20;
/** Transactions at a time: while the database works on one, this process works on another. */
const MAX_TRANSACTIONS = 2;
/** Waiting units are spread evenly over the free transactions, unless that gives each fewer than this. */
const MIN_BATCH = 16;
/** Transactions at a time while each has one unit. */
const MAX_ISOLATED_TRANSACTIONS = 10;

/** A unit of work that waits for a transaction. */
export interface WaitingUnit extends BatchedUnit {
  readonly prelude: BatchPrelude<unknown, unknown>;
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

/**
 * Lets units with the same batch key share transactions. Transactions that write many rows wait for each other sooner or
 * later, in a deadlock at worst, and a unit that fails takes its neighbours along. After a failure each unit has a
 * transaction of its own for a while.
 */
export class TransactionBatcher {
  private readonly queue: WaitingUnit[] = [];
  private readonly outside = AsyncLocalStorage.snapshot();
  private readonly size = new BatchSize(GOAL_MS);
  private inFlight = 0;
  private isWoken = false;

  /** @param runBatch runs units in one transaction and resolves them; throws when nothing was stored */
  constructor(private readonly runBatch: (units: readonly WaitingUnit[]) => Promise<void>) {}

  add<T>(
    prelude: BatchPrelude<unknown, unknown>,
    item: unknown,
    work: (unit: Unit, result: unknown) => Promise<T>,
    joint?: JointWork,
  ): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const context = new AsyncResource('UnitOfWork');
      const run = (unit: Unit, result: unknown) => context.runInAsyncScope(work, undefined, unit, result);
      this.queue.push({ prelude, item, joint, run, resolve: resolve, reject });
      if (this.isWoken) return;
      this.isWoken = true;
      // After the poll phase: units that arrive with the same turn of the event loop share the transaction.
      this.outside(() => setImmediate(() => this.begin()));
    });
  }

  private begin(): void {
    this.isWoken = false;
    while (this.queue.length > 0) {
      const slots = (this.size.isIsolated ? MAX_ISOLATED_TRANSACTIONS : MAX_TRANSACTIONS) - this.inFlight;
      if (slots <= 0) return;
      this.inFlight++;
      const units = Math.max(MIN_BATCH, Math.ceil(this.queue.length / slots));
      void this.runAndMeasure(this.queue.splice(0, Math.min(units, this.size.now))).finally(() => {
        this.inFlight--;
        this.begin();
      });
    }
  }

  /** Never throws. */
  private async runAndMeasure(units: readonly WaitingUnit[]): Promise<void> {
    const began = performance.now();
    try {
      await this.runBatch(units);
    } catch (error) {
      return this.failed(units, error);
    }
    this.size.succeeded(units.length, performance.now() - began);
  }

  /** Nothing of a transaction is stored. Each unit runs again alone, which shows which one is at fault. */
  private async failed(units: readonly WaitingUnit[], error: unknown): Promise<void> {
    const isForAll = error instanceof DatabaseUnavailable && !(error instanceof PartlyUnavailable);
    if (units.length === 1 || isForAll) {
      for (const unit of units) unit.reject(error);
      return;
    }
    this.size.failed();
    await Promise.all(units.map((unit) => this.runBatch([unit]).catch((own: unknown) => unit.reject(own))));
  }
}
