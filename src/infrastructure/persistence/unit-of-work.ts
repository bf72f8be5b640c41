import { AsyncLocalStorage } from 'node:async_hooks';
import { Injectable } from '@nestjs/common';
import type { EntityTarget, ObjectLiteral, Repository } from 'typeorm';
import { Database } from './database.js';
import type { Sql } from './sql.js';
import type { BatchPrelude, Unit, UnitOptions } from './unit.js';

const current = new AsyncLocalStorage<Unit>();
const pendingHook = new AsyncLocalStorage<{ waiting?: TransactionHook }>();

/** Takes part in somebody else's unit of work. */
export interface TransactionHook {
  /** Before the work; throwing ends the unit. */
  before(sql: Sql): Promise<void>;
  /** After the work, with its result, still inside the transaction. */
  after(sql: Sql, result: unknown): Promise<void>;
}

/** Runs `code`, and lets `companion` take part in the first unit of work that it opens. */
export function withTransactionHook<T>(companion: TransactionHook, code: () => Promise<T>): Promise<T> {
  return pendingHook.run({ waiting: companion }, code);
}

/**
 * The only way to a transaction. One unit holds a state change, the inbox record of the message being handled and
 * every outgoing message; it is carried by the async context, so that the code inside just uses it.
 */
@Injectable()
export class UnitOfWork {
  constructor(private readonly database: Database) {}

  /**
   * Runs `work` in one transaction and resolves after its COMMIT; inside a unit it joins that one.
   * Don't wait for anything but the database inside: on SQLite everybody waits along.
   * @throws UnitTimedOut when it took over a second, DatabaseUnavailable when nothing could be kept,
   *   or whatever `work` throws; in each case nothing was written, unless PostgreSQL was lost in the middle of the COMMIT
   */
  async run<T>(work: () => Promise<T>, options?: UnitOptions): Promise<T> {
    const open = current.getStore();
    if (open) {
      open.assertOpen();
      return work();
    }
    const place = pendingHook.getStore();
    const companion = place?.waiting;
    if (place) place.waiting = undefined;
    return this.database.engine.run(
      (unit) =>
        current.run(unit, async () => {
          await companion?.before(unit.sql);
          const result = await work();
          await companion?.after(unit.sql, result);
          return result;
        }),
      options,
    );
  }

  /**
   * As `run()`, for work that begins with the same question as others and may be repeated: several of them share a
   * transaction, or a savepoint, and the question is asked once. When one of them fails, nothing of any is kept, and each
   * is run again by itself.
   */
  runInBatch<Item, Answer, T>(
    opening: BatchPrelude<Item, Answer>,
    item: Item,
    work: (answer: Answer) => Promise<T>,
  ): Promise<T> {
    if (this.open)
      throw new Error('A unit of work is open here; what shares a transaction with others has one of its own');
    return this.database.engine.runInBatch(opening, item, (unit, answer) => current.run(unit, work, answer));
  }

  /** Whether one COMMIT may hold several units. */
  get commitsGroups(): boolean {
    return this.database.engine.commitsGroups;
  }

  /** The unit that the calling code runs in, if any. */
  get open(): Unit | undefined {
    const unit = current.getStore();
    unit?.assertOpen();
    return unit;
  }

  /** @throws Error outside a unit */
  get unit(): Unit {
    const unit = this.open;
    if (!unit) throw new Error('No unit of work here: wrap this in unitOfWork.run(…)');
    return unit;
  }

  /** The repository of an entity: of the open unit, or, outside one, of the read-only connection. */
  repository<Entity extends ObjectLiteral>(entity: EntityTarget<Entity>): Repository<Entity> {
    return (this.open?.manager ?? this.database.reader.manager).getRepository(entity);
  }

  /** Plain statements: of the open unit, or, outside one, of the read-only connection. */
  get sql(): Sql {
    return this.open?.sql ?? this.database.read;
  }
}
