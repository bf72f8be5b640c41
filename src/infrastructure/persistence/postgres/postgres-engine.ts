import { performance } from 'node:perf_hooks';
import { setTimeout as wait } from 'node:timers/promises';
import type { ClientBase } from 'pg';
import type { DataSource, QueryRunner } from 'typeorm';
import { TRANSACTION } from '../../observability/telemetry.js';
import { DatabaseUnavailable, isConflict, PartlyUnavailable, UNIT_LIMIT_MS, UnitTimedOut } from '../sql.js';
import { Unit, type BatchPrelude, type UnitEngine } from '../unit.js';
import type { AbandonedSessions } from './abandoned-sessions.js';
import { faultOfDatabase, isReadOnly, orUnavailable } from './engine-errors.js';
import { fencedConnection, fencedRunner } from './postgres-fence.js';
import { PostgresSql } from './postgres-sql.js';
import type { ServerFaults } from './server-faults.js';
import { repeatStale, StatementWatch } from './stale-statements.js';
import { StatementClock } from './statement-clock.js';
import { bytesReceived, closeConnection, withTimeout } from './timeouts.js';
import { TransactionBatcher, type BatchedUnit } from './transaction-batcher.js';

/** How long a transaction of several units waits for a lock, in ms: alone, a unit holds no other locks while it waits. */
const BATCH_LOCK_TIMEOUT_MS = 250;
/** How long a COMMIT may take, in ms: the time-outs of the server don't end a wait for the disk. */
const COMMIT_TIMEOUT_MS = 5000;
/** How often a transaction is begun anew that other transactions stood in the way of. */
const MAX_REPETITIONS = 4;
const MAX_PAUSE_MS = 50;

interface Transaction {
  readonly runner: QueryRunner;
  readonly client: ClientBase;
  /** How long the database took for its BEGIN. */
  readonly beginMs: number;
}

/** Units of work as pooled transactions (READ COMMITTED), fenced as on SQLite. */
export class PostgresEngine implements UnitEngine {
  readonly commitsGroups = false;
  private readonly batchers = new Map<string, TransactionBatcher>();

  constructor(
    private readonly dataSource: DataSource,
    private readonly abandoned: AbandonedSessions,
    private readonly faults: ServerFaults,
  ) {}

  async run<T>(work: (unit: Unit) => Promise<T>): Promise<T> {
    const { unit, value } = await this.repeatedly((transaction) => this.runUnit(transaction, work));
    unit.committed();
    return value;
  }

  runInBatch<Item, Result, T>(
    prelude: BatchPrelude<Item, Result>,
    item: Item,
    work: (unit: Unit, result: Result) => Promise<T>,
  ): Promise<T> {
    let batcher = this.batchers.get(prelude.batchKey);
    if (!batcher)
      this.batchers.set(prelude.batchKey, (batcher = new TransactionBatcher((units) => this.runBatch(units))));
    return batcher.add(prelude, item, work as (unit: Unit, result: unknown) => Promise<T>);
  }

  /** Runs units one after the other in one transaction. @throws the error of one of them; nothing is stored then */
  private async runBatch(batch: readonly BatchedUnit[]): Promise<void> {
    const run = batch.length > 1 ? this.transaction.bind(this) : this.repeatedly.bind(this);
    const completed = await run(async (transaction) => {
      const { client } = transaction;
      if (batch.length > 1)
        await this.answered(client, client.query(`SET LOCAL lock_timeout = ${BATCH_LOCK_TIMEOUT_MS}`));
      const sql = new PostgresSql((query) => this.answered(client, client.query(query)));
      const items = batch.map(({ item }) => item);
      const results = await batch[0]!.prelude.load(sql, items);
      const units: { unit: Unit; value: unknown }[] = [];
      for (const [index, batched] of batch.entries()) {
        units.push(await this.runUnit(transaction, (unit) => batched.run(unit, results[index])));
      }
      return units;
    }, batch.length);
    for (const [index, { unit, value }] of completed.entries()) {
      unit.committed();
      batch[index]!.resolve(value);
    }
  }

  /** As `transaction()`, and again when other transactions or stale statements stood in its way. */
  private async repeatedly<T>(body: (transaction: Transaction) => Promise<T>, units = 1): Promise<T> {
    for (let repetitions = 0; ; repetitions++) {
      try {
        return await repeatStale(this.abandoned.poolSize, () => this.transaction(body, units));
      } catch (error) {
        if (!isConflict(error)) throw error;
        if (repetitions === MAX_REPETITIONS)
          throw new DatabaseUnavailable('Other transactions stood in the way again and again', { cause: error });
        await wait(Math.random() * MAX_PAUSE_MS);
      }
    }
  }

  /**
   * Ends in bounded time, also when the database doesn't respond; a connection that owes a response isn't used again. When
   * the COMMIT times out, its outcome is unknown and it counts as lost. The repetition finds out: a message by its delivery,
   * which is gone, or by the inbox; a request by its idempotency key.
   */
  private async transaction<T>(body: (transaction: Transaction) => Promise<T>, units: number): Promise<T> {
    await this.abandoned.assertRoom();
    const runner = this.dataSource.createQueryRunner();
    let statements: StatementWatch | undefined;
    try {
      const client = await orUnavailable<ClientBase>(() => runner.connect() as Promise<ClientBase>);
      statements = new StatementWatch(client);
      const before = performance.eventLoopUtilization();
      await orUnavailable(() => this.answered(client, runner.startTransaction()));
      try {
        // Without the time in which this process was busy itself, as with a handler that computes.
        const { idle: beginMs } = performance.eventLoopUtilization(before);
        const value = await body({ runner, client, beginMs });
        const committing = performance.now();
        await this.commit(client);
        TRANSACTION.publish({ units, ms: performance.now() - committing });
        return value;
      } catch (error) {
        const cause = await this.rollBack(client, error);
        throw cause instanceof DatabaseUnavailable ? cause : (statements.error ?? cause);
      }
    } finally {
      statements?.end();
      await runner.release();
    }
  }

  private async commit(client: ClientBase): Promise<void> {
    let isReplicated = true;
    const noticed = ({ routine }: { routine?: string | undefined }) => {
      // The wait for the standby was cancelled. PostgreSQL still answers COMMIT, but a failover would lose the transaction.
      if (routine === 'SyncRepWaitForLSN') isReplicated = false;
    };
    client.on('notice', noticed);
    try {
      const { command } = await this.answered(client, client.query('COMMIT'), COMMIT_TIMEOUT_MS);
      // After a caught error of a statement, COMMIT rolls back and answers ROLLBACK without an error.
      if (command !== 'COMMIT') throw new Error('The transaction was aborted by a statement whose error was caught');
    } finally {
      client.off('notice', noticed);
    }
    if (!isReplicated) throw new DatabaseUnavailable('The COMMIT has not reached the standby: its outcome is unknown');
  }

  /** As `withTimeout()`; a session that owes an answer counts until it has ended. */
  private answered<T>(client: ClientBase, response: Promise<T>, ms?: number): Promise<T> {
    return withTimeout(client, response, ms, () => this.abandoned.add(client));
  }

  /**
   * If the ROLLBACK fails, the connection is lost and the transaction with it. A ROLLBACK waits for the statements of the
   * unit: only when nothing was received meanwhile, a unit that timed out did so because of the connection.
   * @returns the error to throw
   */
  private async rollBack(client: ClientBase, error: unknown): Promise<unknown> {
    const before = bytesReceived(client);
    let after: number | undefined;
    // Read before the CancelRequest goes out: the server answers that, also when it was silent until then.
    const abandon = () => ((after = bytesReceived(client)), this.abandoned.add(client));
    const rollback = withTimeout(client, client.query('ROLLBACK'), undefined, abandon);
    const result = await rollback.catch((lost: unknown) => ({ lost }));
    const isSilent = 'lost' in result && (after ?? bytesReceived(client)) === before;
    const cause = isSilent && error instanceof UnitTimedOut ? result.lost : error;
    if (isReadOnly(cause)) {
      // A failover made this server a standby: another one may take writes by now.
      void closeConnection(client);
      return new DatabaseUnavailable('The database takes no writes', { cause });
    }
    return faultOfDatabase(cause) ?? error;
  }

  private async runUnit<T>({ runner, client, beginMs }: Transaction, work: (unit: Unit) => Promise<T>) {
    const unit = new Unit();
    const clock = new StatementClock(beginMs);
    const connection = fencedConnection(client, unit, clock);
    unit.openManager = () => fencedRunner(this.dataSource, unit, runner, connection).manager;
    unit.sql = new PostgresSql(async (query) => connection.query(query));
    let timer: NodeJS.Timeout | undefined;
    try {
      const limit = new Promise<never>((_, reject) => {
        timer = setTimeout(() => reject(new UnitTimedOut()), UNIT_LIMIT_MS);
      });
      const started = performance.now();
      const value = await Promise.race([unit.complete(work), limit]);
      // A unit that blocks the event loop also blocks the timer.
      if (performance.now() - started > UNIT_LIMIT_MS) throw new UnitTimedOut();
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
