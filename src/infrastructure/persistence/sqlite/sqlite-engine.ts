import { AsyncLocalStorage, AsyncResource } from 'node:async_hooks';
import { setTimeout as wait } from 'node:timers/promises';
import type BetterSqlite3 from 'better-sqlite3';
import type { DataSource } from 'typeorm';
import { errorMessage } from '../../observability/error-message.js';
import { TRANSACTION } from '../../observability/telemetry.js';
import { BatchSize } from '../batch-size.js';
import { DatabaseUnavailable } from '../sql.js';
import type { JointWork, BatchPrelude, Unit, UnitEngine, UnitOptions } from '../unit.js';
import { DatabaseFile } from './database-file.js';
import { DeadlineTimer } from './deadline-timer.js';
import { Savepoints, type CompletedUnit } from './savepoints.js';
import { isBusy, isConstraint, sqliteConnection, SqliteStatements } from './sqlite-statements.js';
import { UnitQueue, type QueuedUnit } from './unit-queue.js';

/** A group is committed after so many units or ms, so that its first unit doesn't wait long. */
const MAX_GROUP_UNITS = 256;
const MAX_GROUP_MS = 10;
/**
 * How long units that made a COMMIT fail run without neighbours, at least, in ms. A rejected request is repeated by its
 * client within this time.
 */
const ISOLATION_MS = 5000;
/** How long a unit waits for a lock of another process, in ms. */
const MAX_LOCK_WAIT_MS = 5000;

/**
 * Units of work over the one connection that writes: run one after the other and committed in groups. Each unit is a
 * savepoint or shares one, each group is one COMMIT, and the promise of a unit resolves after the COMMIT of its group.
 * SQLite syncs the disk once per COMMIT, which is what writing costs.
 */
export class SqliteEngine implements UnitEngine {
  readonly commitsGroups = true;
  private readonly db: BetterSqlite3.Database;
  private readonly statements: SqliteStatements;
  private readonly outside = AsyncLocalStorage.snapshot();
  private readonly file: DatabaseFile;
  private readonly queue: UnitQueue;
  private readonly deadline = new DeadlineTimer();
  private readonly savepoints: Savepoints;
  /** Batch keys whose units made a COMMIT fail; '' for units without a prelude. */
  private readonly isolations = new Map<string, BatchSize>();
  private isDraining = false;

  /** @param messagesPerRequest see UnitQueue */
  constructor(dataSource: DataSource, messagesPerRequest: number) {
    this.db = sqliteConnection(dataSource);
    this.statements = new SqliteStatements(this.db);
    this.file = new DatabaseFile(this.db.name);
    this.queue = new UnitQueue(messagesPerRequest);
    this.savepoints = new Savepoints(this.db, this.statements, dataSource, this.queue, this.deadline);
  }

  run<T>(work: (unit: Unit) => Promise<T>, { isMessage = false, closesGroup = false }: UnitOptions = {}): Promise<T> {
    return this.add(work, { isMessage, closesGroup });
  }

  runInBatch<Item, Result, T>(
    prelude: BatchPrelude<Item, Result>,
    item: Item,
    work: (unit: Unit, result: Result) => Promise<T>,
    joint?: JointWork,
  ): Promise<T> {
    const repeatable = work as (unit: Unit, result?: unknown) => Promise<T>;
    return this.add(repeatable, { isMessage: true, closesGroup: false, prelude, item, joint });
  }

  private add<T>(
    work: (unit: Unit, result?: unknown) => Promise<T>,
    what: Omit<QueuedUnit, 'submitted' | 'run' | 'resolve' | 'reject'>,
  ): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      // The loop below runs outside of all requests, but the work must see the AsyncLocalStorage of its caller.
      const context = new AsyncResource('UnitOfWork');
      const run = (unit: Unit, result?: unknown) => context.runInAsyncScope(work, undefined, unit, result);
      this.queue.add({ submitted: performance.now(), ...what, run, resolve, reject });
      if (this.isDraining) return;
      this.isDraining = true;
      // After the poll phase: units that arrive with the same turn of the event loop share the COMMIT.
      this.outside(() => setImmediate(() => void this.drain()));
    });
  }

  private async drain(): Promise<void> {
    this.deadline.begin();
    while (this.queue.length > 0) {
      if (await this.beginTransaction()) await this.runGroup();
      // A turn of the event loop between groups, so that a long queue doesn't starve requests and timers.
      await new Promise((resolve) => setImmediate(resolve));
    }
    this.deadline.end();
    this.isDraining = false;
  }

  /** Takes the write lock. While another process holds it, waits without blocking this one. */
  private async beginTransaction(): Promise<boolean> {
    for (let attempts = 0; this.queue.length > 0; attempts++) {
      try {
        this.file.assertInPlace();
        if (this.db.inTransaction) this.db.exec('ROLLBACK'); // an earlier ROLLBACK failed
        this.statements.control('BEGIN IMMEDIATE');
        return true;
      } catch (error) {
        const busy = isBusy(error);
        const tooLate = performance.now() - MAX_LOCK_WAIT_MS;
        const refused = this.queue.remove((unit) => !busy || unit.submitted <= tooLate);
        const reason = busy
          ? 'Another process locks the database'
          : `The database can’t be written: ${(error as Error).message}`;
        for (const unit of refused) unit.reject(new DatabaseUnavailable(reason, { cause: error }));
        if (this.queue.length > 0) await wait(Math.min(50, 5 * 2 ** attempts) * (0.5 + Math.random()));
      }
    }
    return false;
  }

  private async runGroup(): Promise<void> {
    const isolated = this.queue.nextIsolated();
    const completed = isolated ? await this.savepoints.run(isolated, 1) : await this.runUnits();
    if (!this.db.inTransaction) return rejectUncommitted(completed, this.savepoints.rollbackCause);
    const began = performance.now();
    try {
      this.statements.control('COMMIT');
    } catch (error) {
      return this.commitFailed(completed, error);
    }
    TRANSACTION.publish({ units: completed.length, ms: performance.now() - began });
    if (this.isolations.size > 0) {
      const keys = new Set(completed.map(({ queued }) => batchKeyOf(queued)));
      for (const key of keys) this.isolations.get(key)?.succeeded(completed.length, 0);
    }
    for (const { queued, unit, value } of completed) {
      unit.committed();
      queued.resolve(value);
    }
  }

  /** Runs units until the group is full or SQLite has rolled it back. @returns the units that wait for the COMMIT */
  private async runUnits(): Promise<CompletedUnit[]> {
    const completed: CompletedUnit[] = [];
    const closesAt = performance.now() + MAX_GROUP_MS;
    const isFull = () => completed.length >= MAX_GROUP_UNITS || performance.now() >= closesAt || this.queue.hasIsolated;
    const next = () => (isFull() ? undefined : this.queue.next()) ?? this.queue.nextClosing();
    for (let unit = this.queue.next() ?? this.queue.nextClosing(); unit; unit = next()) {
      if (this.isolations.get(batchKeyOf(unit))?.isIsolated) this.queue.isolate(unit);
      else completed.push(...(await this.savepoints.run(unit)));
      if (!this.db.inTransaction) break;
    }
    return completed;
  }

  /**
   * Nothing of a group is stored. A deferred constraint fails at the COMMIT, and one unit is at fault: each repeatable unit
   * runs again alone. The others are rejected, and run alone when their callers repeat them.
   */
  private commitFailed(completed: readonly CompletedUnit[], error: unknown): void {
    try {
      if (this.db.inTransaction) this.db.exec('ROLLBACK');
    } catch {
      // beginTransaction() repeats it.
    }
    if (!isConstraint(error)) return rejectUncommitted(completed, error);
    // A unit that closes its group belongs to the mesh and breaks no constraint.
    rejectUncommitted(
      completed.filter(({ queued }) => queued.closesGroup),
      error,
    );
    const suspects = completed.filter(({ queued }) => !queued.closesGroup);
    if (suspects.length > 1) {
      for (const { queued } of suspects) if (queued.prelude) this.queue.isolate(queued);
      const rejected = suspects.filter(({ queued }) => !queued.prelude);
      if (rejected.length > 0) this.isolationOf('').failed();
      return rejectUncommitted(rejected, error);
    }
    for (const { queued } of suspects) {
      this.isolationOf(batchKeyOf(queued)).failed();
      queued.reject(error);
    }
  }

  private isolationOf(key: string): BatchSize {
    let size = this.isolations.get(key);
    if (!size) this.isolations.set(key, (size = new BatchSize(MAX_GROUP_MS, ISOLATION_MS)));
    return size;
  }
}

function batchKeyOf({ prelude }: QueuedUnit): string {
  return prelude?.batchKey ?? '';
}

function rejectUncommitted(completed: readonly CompletedUnit[], cause: unknown): void {
  for (const { queued } of completed)
    queued.reject(
      new DatabaseUnavailable(`The group of units of this unit was not committed: ${errorMessage(cause)}`, { cause }),
    );
}
