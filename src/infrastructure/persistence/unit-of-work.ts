import { AsyncLocalStorage } from 'node:async_hooks';
import { Injectable } from '@nestjs/common';
import type { EntityTarget, ObjectLiteral, Repository } from 'typeorm';
import { Database } from './database.js';
import type { Sql } from './sql.js';
import type { JointWork, BatchPrelude, Unit, UnitOptions } from './unit.js';
import { WriterHealth } from './writer-health.js';

const current = new AsyncLocalStorage<Unit>();
const pendingHook = new AsyncLocalStorage<{ hook?: TransactionHook }>();

/** Code around a unit of work, inside its transaction. */
export interface TransactionHook {
  /** Runs before the work; throwing rolls the unit back. */
  before(sql: Sql): Promise<void>;
  /** Runs after the work, with its result. */
  after(sql: Sql, result: unknown): Promise<void>;
}

/** Runs several units of `runInBatch()` as one, with the results of their prelude. Equal for units that may run together. */
export interface JointBatch<Item, Result, T> {
  /** @returns the value of each */
  run(items: readonly Item[], results: readonly Result[]): Promise<readonly T[]>;
}

/** Runs `code` with a hook for the first unit of work that it opens. */
export function withTransactionHook<T>(hook: TransactionHook, code: () => Promise<T>): Promise<T> {
  return pendingHook.run({ hook }, code);
}

/**
 * The only way to a transaction. One unit of work holds a state change, the inbox record of the message being handled and
 * all outgoing messages. The async context carries it, so that the code inside just uses it.
 */
@Injectable()
export class UnitOfWork {
  /** Whether the database takes writes. */
  readonly health: WriterHealth;

  private readonly jointWork = new WeakMap<object, JointWork>();

  constructor(private readonly database: Database) {
    this.health = new WriterHealth(() => database.damage);
  }

  /**
   * Runs `work` in one transaction and resolves after its COMMIT; inside a unit it joins that unit.
   * Wait for nothing but the database inside: on SQLite all other units wait, too. After a deadlock on PostgreSQL, `work`
   * runs again from its beginning.
   * @throws UnitTimedOut when it took over a second, DatabaseUnavailable when nothing could be stored, or what `work`
   *   throws. Nothing was written then, except when PostgreSQL was lost during the COMMIT: then the outcome is unknown.
   */
  async run<T>(work: () => Promise<T>, options?: UnitOptions): Promise<T> {
    const open = current.getStore();
    if (open) {
      open.assertOpen();
      return work();
    }
    const pending = pendingHook.getStore();
    const hook = pending?.hook;
    if (pending) pending.hook = undefined;
    const inUnit = (unit: Unit) =>
      current.run(unit, async () => {
        await hook?.before(unit.sql);
        const result = await work();
        await hook?.after(unit.sql, result);
        return result;
      });
    return this.health.observe(this.database.engine.run(inUnit, options));
  }

  /**
   * As `run()`, for repeatable work that starts with the same statement as other units: several units share a transaction
   * or a savepoint, and their first statement is one. When one of them fails, nothing of any is stored and each is run
   * again alone.
   * @param joint runs several units as one; a unit alone is run by `work`
   */
  runInBatch<Item, Result, T>(
    prelude: BatchPrelude<Item, Result>,
    item: Item,
    work: (result: Result) => Promise<T>,
    joint?: JointBatch<Item, Result, T>,
  ): Promise<T> {
    if (this.open) throw new Error('runInBatch() was called inside a unit of work: call it outside, or use run()');
    const inUnit = (unit: Unit, result: Result) => current.run(unit, work, result);
    return this.health.observe(
      this.database.engine.runInBatch(prelude, item, inUnit, joint && this.jointWorkOf(joint)),
    );
  }

  private jointWorkOf<Item, Result, T>(joint: JointBatch<Item, Result, T>): JointWork {
    const known = this.jointWork.get(joint);
    if (known) return known;
    const work: JointWork = {
      run: (unit, items, results) =>
        current.run(unit, () => joint.run(items as readonly Item[], results as readonly Result[])),
    };
    this.jointWork.set(joint, work);
    return work;
  }

  /** Whether one COMMIT may hold several units. */
  get commitsGroups(): boolean {
    return this.database.engine.commitsGroups;
  }

  /** The unit that the calling code runs in, if any. @throws UnitEnded when that unit is over */
  get open(): Unit | undefined {
    const unit = current.getStore();
    unit?.assertOpen();
    return unit;
  }

  /** As `open`, but undefined when that unit and its work are over. @throws UnitEnded for work that outlives its unit */
  get openOrNone(): Unit | undefined {
    return current.getStore()?.isOver ? undefined : this.open;
  }

  /** @throws Error outside a unit */
  get unit(): Unit {
    const unit = this.open;
    if (!unit)
      throw new Error(
        'No unit of work is open here: wrap this code in unitOfWork.run(…), or use outbox.add(manager, message) in a transaction of TypeORM',
      );
    return unit;
  }

  /** The repository of an entity: of the open unit, or outside a unit of the read-only connection. */
  repository<Entity extends ObjectLiteral>(entity: EntityTarget<Entity>): Repository<Entity> {
    return (this.open?.manager ?? this.database.reader.manager).getRepository(entity);
  }

  /** Plain statements: in the open unit, or outside a unit on the read-only connection. */
  get sql(): Sql {
    return this.open?.sql ?? this.database.read;
  }
}
