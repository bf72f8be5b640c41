import { AsyncLocalStorage, AsyncResource } from 'node:async_hooks';
import { setTimeout as wait } from 'node:timers/promises';
import { BatchSize } from '../batch-size.js';
import type { BatchedUnit } from '../batched-units.js';
import { DatabaseUnavailable, isConflict, PartlyUnavailable } from '../sql.js';
import type { JointWork, BatchPrelude, Unit } from '../unit.js';
import type { SlotUser, TransactionSlots } from './transaction-slots.js';

/** How long a transaction should take, because it holds its locks for that time; in ms. */
const GOAL_MS = 20;
/** Transactions at a time: while the database works on one, this process works on another. */
const MAX_TRANSACTIONS = 2;
/** Waiting units are spread evenly over the free transactions, unless that gives each fewer than this. */
const MIN_BATCH = 16;
/** How long transactions run one after the other when one has lost to another, in ms. */
const SERIAL_MS = 2000;
/** How often a unit may lose to other transactions. */
const MAX_LOSSES = 4;
/** Longest pause after a loss, in ms. */
const MAX_PAUSE_MS = 50;

/** A unit of work that waits for a transaction. */
export interface WaitingUnit extends BatchedUnit {
  readonly prelude: BatchPrelude<unknown, unknown>;
  /** How many transactions it was in that lost to others: a deadlock, or a lock that did not become free in time. */
  losses: number;
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

/**
 * Lets units with the same batch key share transactions. Transactions that write many rows wait for each other sooner or
 * later, in a deadlock at worst, and a unit that fails takes its neighbours along. After a failure each unit has a
 * transaction of its own for a while. After a loss to other transactions, each transaction runs alone for a while.
 */
export class TransactionBatcher implements SlotUser {
  private readonly queue: WaitingUnit[] = [];
  /** Units of transactions that failed. They come first, and each runs alone. */
  private readonly isolated: WaitingUnit[] = [];
  private readonly outside = AsyncLocalStorage.snapshot();
  private readonly size = new BatchSize(GOAL_MS);
  private transactions = 0;
  private serialUntil = 0;
  /** Whether the transaction in flight runs alone: until it has ended, no other begins. */
  private isSerial = false;
  private isWoken = false;

  /** @param runBatch runs units in one transaction and resolves them; throws when nothing was stored */
  constructor(
    private readonly slots: TransactionSlots,
    private readonly runBatch: (units: readonly WaitingUnit[]) => Promise<void>,
  ) {}

  get inFlight(): number {
    return this.transactions;
  }

  add<T>(
    prelude: BatchPrelude<unknown, unknown>,
    item: unknown,
    work: (unit: Unit, result: unknown) => Promise<T>,
    joint?: JointWork,
  ): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const context = new AsyncResource('UnitOfWork');
      const run = (unit: Unit, result: unknown) => context.runInAsyncScope(work, undefined, unit, result);
      this.queue.push({ prelude, item, joint, run, losses: 0, resolve: resolve, reject });
      if (this.isWoken) return;
      this.isWoken = true;
      // After the poll phase: units that arrive with the same turn of the event loop share the transaction.
      this.outside(() => setImmediate(() => this.begin()));
    });
  }

  begin(): void {
    this.isWoken = false;
    while (this.queue.length + this.isolated.length > 0) {
      const free = this.maxTransactions - this.transactions;
      if (free <= 0 || !this.slots.take(this)) return;
      this.transactions++;
      void this.runAndMeasure(this.next(free)).finally(() => {
        this.transactions--;
        this.isSerial = false;
        this.slots.release();
        this.begin();
      });
    }
  }

  private get maxTransactions(): number {
    if (this.isSerial || performance.now() < this.serialUntil) return 1;
    return this.isolated.length > 0 || this.size.isIsolated ? this.slots.maxIsolated : MAX_TRANSACTIONS;
  }

  /** @param free how many transactions may begin */
  private next(free: number): WaitingUnit[] {
    if (this.isolated.length > 0) return this.isolated.splice(0, 1);
    const units = Math.max(MIN_BATCH, Math.ceil(this.queue.length / free));
    return this.queue.splice(0, Math.min(units, this.size.now));
  }

  /** Never throws. */
  private async runAndMeasure(units: readonly WaitingUnit[]): Promise<void> {
    const began = performance.now();
    this.isSerial = began < this.serialUntil;
    try {
      await this.runBatch(units);
    } catch (error) {
      return isConflict(error) ? this.lost(units, error) : this.failed(units, error);
    }
    this.size.succeeded(units.length, performance.now() - began);
  }

  /** No unit is at fault: the transaction runs again, and then no other transaction of this batcher stands in its way. */
  private async lost(units: readonly WaitingUnit[], error: unknown): Promise<void> {
    // A transaction that ran alone lost to requests, other consumers or processes: running alone doesn't help it.
    this.serialUntil = this.isSerial ? 0 : performance.now() + SERIAL_MS;
    for (const unit of units) unit.losses++;
    await wait(Math.random() * MAX_PAUSE_MS);
    if (units.length > 1) {
      if (units.some(({ losses }) => losses > 1)) this.isolate(units);
      else this.queue.unshift(...units);
      return;
    }
    const [unit] = units as [WaitingUnit];
    if (unit.losses <= MAX_LOSSES) this.isolated.unshift(unit);
    else unit.reject(new DatabaseUnavailable('Other transactions stood in the way again and again', { cause: error }));
  }

  /** Nothing of a transaction is stored. Each unit runs again alone, which shows which one is at fault. */
  private failed(units: readonly WaitingUnit[], error: unknown): void {
    const isForAll = error instanceof DatabaseUnavailable && !(error instanceof PartlyUnavailable);
    if (units.length > 1 && !isForAll) this.isolate(units);
    else for (const unit of units) unit.reject(error);
  }

  private isolate(units: readonly WaitingUnit[]): void {
    this.size.failed();
    this.isolated.push(...units);
  }
}
