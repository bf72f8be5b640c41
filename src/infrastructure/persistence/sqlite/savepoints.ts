import type BetterSqlite3 from 'better-sqlite3';
import type { DataSource } from 'typeorm';
import { BatchSize } from '../batch-size.js';
import { runBatched } from '../batched-units.js';
import { UNIT_LIMIT_MS, UnitTimedOut } from '../sql.js';
import { Unit } from '../unit.js';
import type { DeadlineTimer } from './deadline-timer.js';
import { SqliteFence } from './sqlite-fence.js';
import type { SqliteStatements } from './sqlite-statements.js';
import type { QueuedUnit, UnitQueue } from './unit-queue.js';

/** Units that share a savepoint take about so long, in ms. */
const SAVEPOINT_MS = 2;

/** A unit that has run and waits for the COMMIT of its group. */
export interface CompletedUnit {
  readonly queued: QueuedUnit;
  readonly unit: Unit;
  readonly value: unknown;
}

/** Runs units in the open transaction: one after the other, each in a savepoint or sharing one. */
export class Savepoints {
  private readonly sizes = new Map<string, BatchSize>();
  /** Why SQLite rolled the last transaction back by itself. */
  rollbackCause?: unknown;

  constructor(
    private readonly db: BetterSqlite3.Database,
    private readonly statements: SqliteStatements,
    private readonly dataSource: DataSource,
    private readonly queue: UnitQueue,
    private readonly deadline: DeadlineTimer,
  ) {}

  /**
   * Runs a unit, with others of the queue that may share its savepoint.
   * @param limit units that may share it
   * @returns the units that wait for the COMMIT; those that failed are rejected
   */
  async run(first: QueuedUnit, limit = Infinity): Promise<CompletedUnit[]> {
    const { prelude } = first;
    if (!prelude) return this.inSavepoint([first]).catch((error: unknown) => rejectAll([first], error));
    const size = this.sizeOf(prelude.batchKey);
    const units = [first, ...this.queue.takeSamePrelude(first, Math.min(limit, size.now) - 1)];
    const began = performance.now();
    try {
      const completed = await this.inSavepoint(units);
      size.succeeded(units.length, performance.now() - began);
      return completed;
    } catch (error) {
      if (units.length === 1 || !this.db.inTransaction) return rejectAll(units, error);
    }
    // Nothing of any unit is stored. Each runs again alone, which shows which one is at fault.
    size.failed();
    const completed: CompletedUnit[] = [];
    for (const [index, unit] of units.entries()) {
      try {
        completed.push(...(await this.inSavepoint([unit])));
      } catch (error) {
        if (!this.db.inTransaction) return [...completed, ...rejectAll(units.slice(index), error)];
        rejectAll([unit], error);
      }
    }
    return completed;
  }

  /** Runs units one after the other in one savepoint. @throws the error of one of them; nothing of any is stored then */
  private async inSavepoint(units: readonly QueuedUnit[]): Promise<CompletedUnit[]> {
    this.statements.control('SAVEPOINT unit');
    try {
      const { prelude } = units[0]!;
      const results = prelude ? await this.load(prelude, units) : [];
      const ran = await runBatched(units, results, (work) => this.runUnit(work));
      const completed = ran.map(({ batched: queued, unit, value }) => ({ queued, unit, value }));
      const epilogues = Unit.epiloguesOf(completed.map(({ unit }) => unit));
      for (const [epilogue, items] of epilogues) await epilogue.store(this.unfenced(), items);
      this.statements.control('RELEASE unit');
      return completed;
    } catch (error) {
      if (this.db.inTransaction) {
        // ROLLBACK TO keeps the savepoint on SQLite's stack: without RELEASE, failing units would pile them up.
        this.statements.control('ROLLBACK TO unit');
        this.statements.control('RELEASE unit');
      } else {
        this.rollbackCause = error;
      }
      throw error;
    }
  }

  private async load(prelude: NonNullable<QueuedUnit['prelude']>, units: readonly QueuedUnit[]) {
    const items = units.map(({ item }) => item);
    return prelude.load(this.unfenced(), items);
  }

  /** For the statements of several units. */
  private unfenced(): SqliteFence {
    return new SqliteFence(this.db, this.statements, new Unit());
  }

  private async runUnit<T>(work: (unit: Unit) => Promise<T>): Promise<{ unit: Unit; value: T }> {
    const unit = new Unit();
    const fence = new SqliteFence(this.db, this.statements, unit);
    unit.sql = fence;
    unit.openManager = () => fence.queryRunner(this.dataSource).manager;
    const started = performance.now();
    try {
      const value = await this.deadline.limit(unit.complete(work), started);
      // A unit that blocks the event loop also blocks the timer.
      if (performance.now() - started > UNIT_LIMIT_MS) throw new UnitTimedOut();
      if (fence.broken) throw fence.broken;
      unit.end('This unit of work is over');
      return { unit, value };
    } catch (error) {
      unit.end('This unit of work was rolled back');
      throw fence.broken ?? error;
    }
  }

  private sizeOf(batchKey: string): BatchSize {
    let size = this.sizes.get(batchKey);
    if (!size) this.sizes.set(batchKey, (size = new BatchSize(SAVEPOINT_MS)));
    return size;
  }
}

/** @returns an empty list: none of the units waits for a COMMIT */
function rejectAll(units: readonly QueuedUnit[], error: unknown): CompletedUnit[] {
  for (const unit of units) unit.reject(error);
  return [];
}
