import { AsyncLocalStorage, AsyncResource } from 'node:async_hooks';
import { setTimeout as wait } from 'node:timers/promises';
import type BetterSqlite3 from 'better-sqlite3';
import type { DataSource } from 'typeorm';
import { BatchSize } from '../batch-size.js';
import { DatabaseUnavailable, UNIT_LIMIT_MS, UnitTimedOut } from '../sql.js';
import { SqliteFence } from './sqlite-fence.js';
import { isBusy, isConstraint, sqliteConnection, SqliteStatements } from './sqlite-statements.js';
import { Unit, type BatchPrelude, type UnitEngine, type UnitOptions } from '../unit.js';
import { UnitQueue, type QueuedUnit } from './unit-queue.js';

/** A group is closed after this many units or ms, so that the first of it doesn't wait long for its COMMIT. */
const MAX_GROUP_UNITS = 256;
const MAX_GROUP_MS = 4;
/** Units that share a savepoint take about so long, in ms. */
const SAVEPOINT_MS = 2;
/** For how long what has made a COMMIT fail isn't grouped, at least, in ms: whoever is told to come again does so within. */
const ISOLATION_MS = 5000;
/** How long a unit waits for a lock that another process holds, in ms. */
const MAX_LOCK_WAIT_MS = 5000;

/** How often somebody looks whether a unit takes too long, in ms. */
const DEADLINE_CHECK_MS = 25;

interface Done {
  readonly job: QueuedUnit;
  readonly unit: Unit;
  readonly value: unknown;
}

/**
 * Units of work over the one connection that may write: run one after the other, committed in groups. Each unit is a
 * savepoint, or shares one, each group is one COMMIT, and a unit's promise resolves only after the COMMIT of its group.
 * SQLite syncs the disk once per COMMIT, and that is what writing costs.
 */
export class SqliteEngine implements UnitEngine {
  readonly commitsGroups = true;
  private readonly db: BetterSqlite3.Database;
  private readonly statements: SqliteStatements;
  private readonly outside = AsyncLocalStorage.snapshot();
  private readonly queue = new UnitQueue();
  private readonly deadline = new DeadlineTimer();
  private readonly sizes = new Map<string, BatchSize>();
  /** Of groups: of lanes, and of what has no lane (''), that have made a COMMIT fail. */
  private readonly groupSizes = new Map<string, BatchSize>();
  private draining = false;

  constructor(private readonly dataSource: DataSource) {
    this.db = sqliteConnection(dataSource);
    this.statements = new SqliteStatements(this.db);
  }

  run<T>(work: (unit: Unit) => Promise<T>, { isMessage = false, closesGroup = false }: UnitOptions = {}): Promise<T> {
    return this.add(work, { isMessage, closesGroup });
  }

  runInBatch<Item, Answer, T>(
    prelude: BatchPrelude<Item, Answer>,
    item: Item,
    work: (unit: Unit, answer: Answer) => Promise<T>,
  ): Promise<T> {
    const together = { prelude: prelude as BatchPrelude<unknown, unknown>, item };
    return this.add(work as (unit: Unit, answer?: unknown) => Promise<T>, {
      ...{ isMessage: true, closesGroup: false, ...together },
    });
  }

  private add<T>(
    work: (unit: Unit, answer?: unknown) => Promise<T>,
    what: Pick<QueuedUnit, 'isMessage' | 'closesGroup' | 'prelude' | 'item'>,
  ): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      // The drain below runs in nobody's context; the work must run in its caller's, or every line of a group
      // would carry the correlation id of whoever woke it.
      const place = new AsyncResource('UnitOfWork');
      const run = (unit: Unit, answer?: unknown) => place.runInAsyncScope(work, undefined, unit, answer);
      this.queue.add({ submitted: performance.now(), ...what, run, resolve: resolve, reject });
      if (this.draining) return;
      this.draining = true;
      // After the poll phase: whoever arrived with the same turn of the loop shares the COMMIT.
      this.outside(() => setImmediate(() => void this.drain()));
    });
  }

  private async drain(): Promise<void> {
    this.deadline.begin();
    while (this.queue.length > 0) {
      if (await this.beginTransaction()) await this.runGroup();
      // A turn of the loop between groups, so that requests and timers are not starved by a long queue.
      await new Promise((resolve) => setImmediate(resolve));
    }
    this.deadline.end();
    this.draining = false;
  }

  /** Takes the write lock, waiting without blocking the process while another one holds it. */
  private async beginTransaction(): Promise<boolean> {
    for (let tries = 0; this.queue.length > 0; tries++) {
      try {
        if (this.db.inTransaction) this.db.exec('ROLLBACK'); // it has failed before
        this.statements.control('BEGIN IMMEDIATE');
        return true;
      } catch (error) {
        const busy = isBusy(error);
        const late = performance.now() - MAX_LOCK_WAIT_MS;
        const refused = this.queue.remove((job) => !busy || job.submitted <= late);
        const reason = busy ? 'The database is locked by another process' : `The database refuses to be written`;
        for (const job of refused) job.reject(new DatabaseUnavailable(reason, { cause: error }));
        if (this.queue.length > 0) await wait(Math.min(50, 5 * 2 ** tries) * (0.5 + Math.random()));
      }
    }
    return false;
  }

  private async runGroup(): Promise<void> {
    const alone = this.queue.nextIsolated();
    const done = alone ? await this.runBatch(alone, 1) : await this.runUnits();
    if (!this.db.inTransaction)
      return this.rejectUncommitted(done, new Error('SQLite rolled the transaction back by itself'));
    try {
      this.statements.control('COMMIT');
    } catch (error) {
      return this.commitFailed(done, error);
    }
    for (const lane of this.groupSizes.size > 0 ? new Set(done.map(({ job }) => batchKeyOf(job))) : [])
      this.groupSizes.get(lane)?.succeeded(done.length, 0);
    for (const { job, unit, value } of done) {
      unit.committed();
      job.resolve(value);
    }
  }

  /** Runs units until the group is full, or SQLite has rolled it back. @returns what waits for the COMMIT */
  private async runUnits(): Promise<Done[]> {
    const done: Done[] = [];
    const closes = performance.now() + MAX_GROUP_MS;
    const isFull = () => done.length >= MAX_GROUP_UNITS || performance.now() >= closes || this.queue.hasIsolated;
    for (
      let job = this.queue.next() ?? this.queue.nextClosing();
      job;
      job = isFull() ? this.queue.nextClosing() : (this.queue.next() ?? this.queue.nextClosing())
    ) {
      if (this.groupSizes.get(batchKeyOf(job))?.isIsolated) this.queue.isolate(job);
      else done.push(...(await this.runBatch(job)));
      if (!this.db.inTransaction) break;
    }
    return done;
  }

  /**
   * Nothing of a group was kept. If that was for a constraint that is looked at with the COMMIT, it is the fault of one
   * of them; whose, shows when each is alone. What may not be run again is told, and alone when it comes back.
   */
  private commitFailed(done: readonly Done[], error: unknown): void {
    try {
      if (this.db.inTransaction) this.db.exec('ROLLBACK');
    } catch {
      // begin() tries it again
    }
    if (!isConstraint(error)) return this.rejectUncommitted(done, error);
    // What closes a group is ours, and breaks nothing.
    const [suspects, closing] = [done.filter(({ job }) => !job.closesGroup), done.filter(({ job }) => job.closesGroup)];
    this.rejectUncommitted(closing, error);
    if (suspects.length > 1) {
      for (const { job } of suspects) if (job.prelude) this.queue.isolate(job);
      const told = suspects.filter(({ job }) => !job.prelude);
      if (told.length > 0) this.sizeOf('', this.groupSizes, ISOLATION_MS).failed();
      return this.rejectUncommitted(told, error);
    }
    for (const { job } of suspects) {
      this.sizeOf(batchKeyOf(job), this.groupSizes, ISOLATION_MS).failed();
      job.reject(error);
    }
  }

  /** Runs a unit as a savepoint, with those that may share it. @returns what waits for the COMMIT; the others are rejected */
  private async runBatch(first: QueuedUnit, most = Infinity): Promise<Done[]> {
    const { prelude } = first;
    if (!prelude) return this.runInSavepoint([first]).catch((error: unknown) => reject([first], error));
    const size = this.sizeOf(prelude.batchKey);
    const jobs = [first, ...this.queue.takeSamePrelude(first, Math.min(most, size.now) - 1)];
    const began = performance.now();
    try {
      const done = await this.runInSavepoint(jobs);
      size.succeeded(jobs.length, performance.now() - began);
      return done;
    } catch (error) {
      if (jobs.length === 1 || !this.db.inTransaction) return reject(jobs, error);
    }
    // Nothing of any was kept. Whose fault it was shows when each is alone.
    size.failed();
    const done: Done[] = [];
    for (const [index, job] of jobs.entries()) {
      try {
        done.push(...(await this.runInSavepoint([job])));
      } catch (error) {
        if (!this.db.inTransaction) return [...done, ...reject(jobs.slice(index), error)];
        reject([job], error);
      }
    }
    return done;
  }

  /** Runs units one after the other in one savepoint. @throws whatever one of them throws; nothing of any is kept then */
  private async runInSavepoint(jobs: readonly QueuedUnit[]): Promise<Done[]> {
    this.statements.control('SAVEPOINT unit');
    try {
      const { prelude } = jobs[0]!;
      const answers = prelude && (await this.loadPrelude(prelude, jobs));
      const done: Done[] = [];
      for (const [index, job] of jobs.entries()) done.push(await this.runUnit(job, answers?.[index]));
      this.statements.control('RELEASE unit');
      return done;
    } catch (error) {
      if (this.db.inTransaction) {
        // TypeORM leaves a rolled-back savepoint on the stack; a group of failing units would pile them up.
        this.statements.control('ROLLBACK TO unit');
        this.statements.control('RELEASE unit');
      }
      throw error;
    }
  }

  private async loadPrelude(prelude: BatchPrelude<unknown, unknown>, jobs: readonly QueuedUnit[]) {
    const items = jobs.map(({ item }) => item);
    return prelude.load(new SqliteFence(this.db, this.statements, new Unit()), items);
  }

  private async runUnit(job: QueuedUnit, answer: unknown): Promise<Done> {
    const unit = new Unit();
    const fence = new SqliteFence(this.db, this.statements, unit);
    unit.sql = fence;
    unit.openManager = () => fence.queryRunner(this.dataSource).manager;
    const started = performance.now();
    try {
      const value = await this.deadline.over(
        unit.complete((it) => job.run(it, answer)),
        started,
      );
      if (performance.now() - started > UNIT_LIMIT_MS) throw new UnitTimedOut();
      if (fence.broken) throw fence.broken;
      unit.end('This unit of work was committed');
      return { job, unit, value };
    } catch (error) {
      unit.end('This unit of work was rolled back');
      throw fence.broken ?? error;
    }
  }

  private sizeOf(lane: string, sizes = this.sizes, apartMs?: number): BatchSize {
    let size = sizes.get(lane);
    if (!size) sizes.set(lane, (size = new BatchSize(SAVEPOINT_MS, apartMs)));
    return size;
  }

  private rejectUncommitted(done: readonly Done[], cause: unknown): void {
    for (const { job } of done) {
      job.reject(new DatabaseUnavailable('The group of units that this one belonged to was not committed', { cause }));
    }
  }
}

function batchKeyOf({ prelude }: QueuedUnit): string {
  return prelude?.batchKey ?? '';
}

/** @returns nothing: none of them waits for a COMMIT */
function reject(jobs: readonly QueuedUnit[], error: unknown): Done[] {
  for (const job of jobs) job.reject(error);
  return [];
}

/** Ends the waiting for a unit that takes too long: one timer for all of them, as they run one after the other. */
class DeadlineTimer {
  private timer?: NodeJS.Timeout;
  private started = Infinity;
  private late: (error: Error) => void = () => undefined;

  begin(): void {
    this.timer = setInterval(() => {
      if (performance.now() - this.started > UNIT_LIMIT_MS) this.late(new UnitTimedOut());
    }, DEADLINE_CHECK_MS);
  }

  end(): void {
    clearInterval(this.timer);
  }

  /** @throws UnitTimedOut when it takes too long from `started` on, and whatever `work` throws */
  over<T>(work: Promise<T>, started: number): Promise<T> {
    this.started = started;
    return new Promise((resolve, reject) => {
      this.late = reject;
      work.then(resolve, reject);
    });
  }
}
