import { performance } from 'node:perf_hooks';
import type { ClientBase } from 'pg';
import type { DataSource, QueryRunner } from 'typeorm';
import { TRANSACTION } from '../../observability/telemetry.js';
import { DatabaseUnavailable, MARK_TRANSACTION, UnitEnded, UnitTimedOut } from '../sql.js';
import { Unit } from '../unit.js';
import type { AbandonedSessions } from './abandoned-sessions.js';
import { connectionLost, isReadOnly, orUnavailable } from './engine-errors.js';
import { OpenStreams } from './open-streams.js';
import { PostgresSql } from './postgres-sql.js';
import { StatementWatch } from './stale-statements.js';
import { bytesReceived, closeConnection, DatabaseTimeout, withTimeout } from './timeouts.js';

/** How long a COMMIT may take, in ms: the time-outs of the server don't end a wait for the disk. */
const COMMIT_TIMEOUT_MS = 5000;

/** One message: when BEGIN fails, PostgreSQL skips the rest of it. */
const BEGIN = `BEGIN; ${MARK_TRANSACTION}`;

/** An open transaction. */
export interface Transaction {
  readonly runner: QueryRunner;
  readonly client: ClientBase;
  /** How long the database took for its BEGIN, in ms. */
  readonly beginMs: number;
  /** The units that have run in it. */
  readonly units: Unit[];
  readonly streams: OpenStreams;
}

/** What is sent together with BEGIN. */
export interface Opening<Result> {
  /** How long statements wait for a lock, in ms; undefined: as long as the session lets them. */
  readonly lockTimeoutMs?: number | undefined;
  /** Sends one statement, which does nothing without `IN_TRANSACTION`. */
  send(sql: PostgresSql): Promise<Result>;
}

/** Transactions over the connections of a pool. Statements that don't wait for each other's answers share a round trip. */
export class PostgresTransactions {
  constructor(
    private readonly dataSource: DataSource,
    private readonly abandoned: AbandonedSessions,
  ) {}

  /**
   * Ends in bounded time, also when the database doesn't respond; a connection that owes a response isn't used again. When
   * the COMMIT times out, its outcome is unknown and it counts as lost. The repetition finds out: a message by its delivery,
   * which is gone, or by the inbox; a request by its idempotency key.
   * @param opening sent with the BEGIN; `body` gets its result
   */
  async run<T, Result = undefined>(
    body: (transaction: Transaction, result: Result) => Promise<T>,
    opening?: Opening<Result>,
  ): Promise<T> {
    await this.abandoned.assertRoom();
    const runner = this.dataSource.createQueryRunner();
    let statements: StatementWatch | undefined;
    try {
      const client = await orUnavailable<ClientBase>(() => runner.connect() as Promise<ClientBase>);
      statements = new StatementWatch(client);
      pipeline(client);
      const streams = new OpenStreams(client);
      const before = performance.eventLoopUtilization();
      const begin = this.begin(client, opening?.lockTimeoutMs);
      const result = opening?.send(this.sqlOf(client));
      result?.catch(() => undefined);
      await orUnavailable(() => begin).catch((error: unknown) => {
        // What was sent with the BEGIN isn't answered yet.
        void closeConnection(client);
        throw error;
      });
      try {
        // Without the time in which this process was busy itself, as with a handler that computes.
        const { idle: beginMs } = performance.eventLoopUtilization(before);
        // The engine begins and ends the transaction; savepoints of TypeORM come inside of it.
        Object.assign(runner, { isTransactionActive: true, transactionDepth: 1 });
        const units: Unit[] = [];
        const value = await body({ runner, client, beginMs, units, streams }, (await result) as Result);
        statements.assertCommittable();
        await this.end(client, units);
        return value;
      } catch (error) {
        const lost = await this.rollBack(client, streams, error);
        if (lost) throw error instanceof DatabaseUnavailable ? error : connectionLost(lost.cause);
        const fault = error instanceof DatabaseUnavailable ? error : statements.faultBehind(error);
        // A failover made this server a standby: another one may take writes by now.
        if (isReadOnly(fault?.cause)) void closeConnection(client);
        throw fault ?? statements.causeOf(error);
      } finally {
        streams.end();
      }
    } finally {
      statements?.end();
      await runner.release();
    }
  }

  private begin(client: ClientBase, lockTimeoutMs?: number): Promise<unknown> {
    const text = lockTimeoutMs === undefined ? BEGIN : `${BEGIN}; SET LOCAL lock_timeout = ${lockTimeoutMs}`;
    return this.answered(client, client.query(text));
  }

  /** Sends the epilogues of the units and the COMMIT together: after a statement that fails, COMMIT rolls back. */
  private async end(client: ClientBase, units: readonly Unit[]): Promise<void> {
    const committing = performance.now();
    let [statements, isSent] = [0, false];
    const sql = this.sqlOf(client, () => {
      if (isSent) throw new UnitEnded('An epilogue sent a statement after its first wait');
      statements++;
    });
    const stored: Promise<void>[] = [];
    for (const [epilogue, items] of Unit.epiloguesOf(units)) {
      const before = statements;
      const storing = epilogue.store(sql, items);
      // What sends nothing has nothing to store, or fails: no statement would make COMMIT roll back then.
      if (statements === before) await storing;
      else stored.push(storing);
    }
    isSent = true;
    const ends = await Promise.allSettled([...stored, this.commit(client)]);
    const failed = ends.find((it) => it.status === 'rejected');
    if (failed) throw failed.reason;
    TRANSACTION.publish({ units: units.length, ms: performance.now() - committing });
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

  private sqlOf(client: ClientBase, assertOpen?: () => void): PostgresSql {
    return new PostgresSql((query) => {
      assertOpen?.();
      return this.answered(client, client.query(query));
    });
  }

  /**
   * If the ROLLBACK fails, the connection is lost and the transaction with it. A ROLLBACK waits for the statements of the
   * unit: only when nothing was received meanwhile, it timed out because of the connection.
   * @returns the cause when the connection was lost: the unit can be repeated then; undefined when it was rolled back
   */
  private async rollBack(
    client: ClientBase,
    streams: OpenStreams,
    error: unknown,
  ): Promise<{ cause: unknown } | undefined> {
    if (streams.isOpen) {
      // The ROLLBACK would wait for the unit to read on.
      await this.abandoned.add(client);
      void closeConnection(client, 0);
      return undefined;
    }
    const before = bytesReceived(client);
    let after: number | undefined;
    // Read before the CancelRequest goes out: the server answers that, also when it was silent until then.
    const abandon = () => ((after = bytesReceived(client)), this.abandoned.add(client));
    const rollback = withTimeout(client, client.query('ROLLBACK'), undefined, abandon);
    const lost = await rollback.then(
      () => undefined,
      (it: unknown) => it,
    );
    if (!lost) return undefined;
    const isSilent = (after ?? bytesReceived(client)) === before;
    if (error instanceof UnitTimedOut) return isSilent ? { cause: lost } : undefined;
    return isSilent || !(lost instanceof DatabaseTimeout) ? { cause: error } : undefined;
  }
}

/** Lets `pg` send statements before the earlier ones are answered, from 8.23 on; older versions send one after the other. */
export function pipeline(client: ClientBase, isOn = true): void {
  Object.assign(client, { pipeline: isOn });
}
