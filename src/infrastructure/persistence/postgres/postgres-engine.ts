import { setTimeout as wait } from 'node:timers/promises';
import type { DataSource } from 'typeorm';
import { DatabaseUnavailable, isConflict, PartlyUnavailable, UNIT_LIMIT_MS, UnitEnded, UnitTimedOut } from '../sql.js';
import { runBatched } from '../batched-units.js';
import { Unit, type BatchPrelude, type UnitEngine, type JointWork } from '../unit.js';
import type { AbandonedSessions } from './abandoned-sessions.js';
import { fencedConnection, fencedRunner } from './postgres-fence.js';
import { PostgresSql } from './postgres-sql.js';
import { PostgresTransactions, type Opening, type Transaction } from './postgres-transactions.js';
import type { ServerFaults } from './server-faults.js';
import { repeatStale } from './stale-statements.js';
import { StatementClock } from './statement-clock.js';
import { TransactionBatcher, type WaitingUnit } from './transaction-batcher.js';
import { TransactionSlots } from './transaction-slots.js';

/** How long a transaction of several units waits for a lock, in ms. One of a single unit waits as long as its session may. */
const BATCH_LOCK_TIMEOUT_MS = 250;
/** How often a transaction is begun anew that other transactions stood in the way of. */
const MAX_REPETITIONS = 4;
const MAX_PAUSE_MS = 50;

/** Units of work as pooled transactions (READ COMMITTED), fenced as on SQLite. */
export class PostgresEngine implements UnitEngine {
  readonly commitsGroups = false;
  private readonly batchers = new Map<string, TransactionBatcher>();

  private readonly transactions: PostgresTransactions;
  private readonly poolSize: number;
  private readonly slots: TransactionSlots;

  constructor(
    private readonly dataSource: DataSource,
    abandoned: AbandonedSessions,
    private readonly faults: ServerFaults,
  ) {
    this.transactions = new PostgresTransactions(dataSource, abandoned);
    this.poolSize = abandoned.poolSize;
    this.slots = new TransactionSlots(this.poolSize);
  }

  async run<T>(work: (unit: Unit) => Promise<T>): Promise<T> {
    const { unit, value } = await this.repeatedly(() =>
      this.transactions.run((transaction) => this.runUnit(transaction, work)),
    );
    unit.committed();
    return value;
  }

  runInBatch<Item, Result, T>(
    prelude: BatchPrelude<Item, Result>,
    item: Item,
    work: (unit: Unit, result: Result) => Promise<T>,
    joint?: JointWork,
  ): Promise<T> {
    let batcher = this.batchers.get(prelude.batchKey);
    if (!batcher) {
      batcher = new TransactionBatcher(this.slots, (units) => this.runBatch(units));
      this.batchers.set(prelude.batchKey, batcher);
    }
    return batcher.add(prelude, item, work as (unit: Unit, result: unknown) => Promise<T>, joint);
  }

  /** Runs units one after the other in one transaction. @throws the error of one of them; nothing is stored then */
  private async runBatch(batch: readonly WaitingUnit[]): Promise<void> {
    const items = batch.map(({ item }) => item);
    const opening: Opening<readonly unknown[]> = {
      lockTimeoutMs: batch.length > 1 ? BATCH_LOCK_TIMEOUT_MS : undefined,
      send: (sql) => batch[0]!.prelude.load(sql, items),
    };
    const run = () =>
      this.transactions.run(
        (transaction, results) => runBatched(batch, results, (work) => this.runUnit(transaction, work)),
        opening,
      );
    const completed = await (batch.length > 1 ? run() : repeatStale(this.poolSize, run));
    for (const { batched, unit, value } of completed) {
      unit.committed();
      batched.resolve(value);
    }
  }

  /** Does it again when other transactions or stale statements stood in its way. */
  private async repeatedly<T>(run: () => Promise<T>): Promise<T> {
    for (let repetitions = 0; ; repetitions++) {
      try {
        return await repeatStale(this.poolSize, run);
      } catch (error) {
        if (!isConflict(error)) throw error;
        if (repetitions === MAX_REPETITIONS)
          throw new DatabaseUnavailable('Other transactions stood in the way again and again', { cause: error });
        await wait(Math.random() * MAX_PAUSE_MS);
      }
    }
  }

  private async runUnit<T>(transaction: Transaction, work: (unit: Unit) => Promise<T>) {
    const { runner, client, beginMs, units, streams } = transaction;
    const unit = new Unit();
    const clock = new StatementClock(beginMs);
    const connection = fencedConnection(client, unit, clock, streams);
    unit.openManager = () => fencedRunner(this.dataSource, unit, runner, connection).manager;
    unit.sql = new PostgresSql(async (query) => {
      unit.wrote(query.text);
      return connection.query(query);
    });
    let timer: NodeJS.Timeout | undefined;
    try {
      const limit = new Promise<never>((_, reject) => {
        timer = setTimeout(() => reject(new UnitTimedOut()), UNIT_LIMIT_MS);
      });
      const started = performance.now();
      const value = await Promise.race([unit.complete(work), limit]);
      // A unit that blocks the event loop also blocks the timer.
      if (performance.now() - started > UNIT_LIMIT_MS) throw new UnitTimedOut();
      if (streams.isOpen)
        throw new UnitEnded('A cursor or stream of this unit of work was neither read to its end nor closed');
      // What comes after the answer, as a message, would miss the COMMIT.
      if (clock.isWaiting) throw new UnitEnded('A statement of this unit of work was not awaited');
      units.push(unit);
      unit.end('This unit of work was committed');
      return { unit, value };
    } catch (error) {
      unit.end('This unit of work was rolled back');
      const cause = clock.causeOf(error);
      if (cause instanceof PartlyUnavailable) this.faults.note(cause);
      throw cause;
    } finally {
      clearTimeout(timer);
    }
  }
}
