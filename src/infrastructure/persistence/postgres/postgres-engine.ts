import { createHash } from 'node:crypto';
import type { ClientBase } from 'pg';
import { QueryFailedError, type DataSource, type QueryRunner } from 'typeorm';
import {
  DatabaseUnavailable,
  isConnectionLost,
  UNIT_LIMIT_MS,
  UnitEnded,
  UnitTimedOut,
  type Sql,
  type SqlValue,
} from '../sql.js';
import { TransactionBatcher, type BatchedUnit } from './transaction-batcher.js';
import { withTimeout, bytesReceived } from './timeouts.js';
import { Unit, type BatchPrelude, type UnitEngine } from '../unit.js';

/** How long a transaction of several units waits for a lock, in ms. */
const BATCH_LOCK_TIMEOUT_MS = 250;
/** How long a COMMIT may take, in ms: a disk that is busy doesn't heed the time-outs of the server. */
const COMMIT_TIMEOUT_MS = 5000;

/** Units of work as pooled transactions (READ COMMITTED), with the same fence as on SQLite. */
export class PostgresEngine implements UnitEngine {
  readonly commitsGroups = false;
  private readonly batchers = new Map<string, TransactionBatcher>();

  constructor(private readonly dataSource: DataSource) {}

  async run<T>(work: (unit: Unit) => Promise<T>): Promise<T> {
    const { unit, value } = await this.transaction((runner, client) => this.runUnit(runner, client, work));
    unit.committed();
    return value;
  }

  runInBatch<Item, Answer, T>(
    opening: BatchPrelude<Item, Answer>,
    item: Item,
    work: (unit: Unit, answer: Answer) => Promise<T>,
  ): Promise<T> {
    let lane = this.batchers.get(opening.batchKey);
    if (!lane) this.batchers.set(opening.batchKey, (lane = new TransactionBatcher((jobs) => this.runBatch(jobs))));
    return lane.add(opening, item, work as (unit: Unit, answer: unknown) => Promise<T>);
  }

  /** Runs jobs of one lane one after the other in one transaction. @throws whatever one of them throws; nothing is kept then */
  private async runBatch(jobs: readonly BatchedUnit[]): Promise<void> {
    const done = await this.transaction(async (runner, client) => {
      // Whoever holds several locks doesn't wait for long: alone it will, and hold none meanwhile.
      if (jobs.length > 1) await withTimeout(client, client.query(`SET LOCAL lock_timeout = ${BATCH_LOCK_TIMEOUT_MS}`));
      const sql = new PostgresSql((config) => withTimeout(client, client.query(config)));
      const answers = await jobs[0]!.prelude.load(
        sql,
        jobs.map(({ item }) => item),
      );
      const units: { unit: Unit; value: unknown }[] = [];
      for (const [index, job] of jobs.entries()) {
        units.push(await this.runUnit(runner, client, (unit) => job.run(unit, answers[index])));
      }
      return units;
    });
    for (const [index, { unit, value }] of done.entries()) {
      unit.committed();
      jobs[index]!.resolve(value);
    }
  }

  /**
   * However silent the database is, this ends, and a connection that owes an answer isn't used again. When the COMMIT is
   * what wasn't answered, nobody knows whether it was carried out. It counts as lost then, as if the connection had gone,
   * and whoever comes again with the same finds out: a message by its delivery, which is gone, or by the inbox, a request
   * by its idempotency key.
   */
  private async transaction<T>(body: (runner: QueryRunner, client: ClientBase) => Promise<T>): Promise<T> {
    const runner = this.dataSource.createQueryRunner();
    try {
      const client = await unavailable<ClientBase>(() => runner.connect() as Promise<ClientBase>);
      await unavailable(() => withTimeout(client, runner.startTransaction()));
      try {
        const value = await body(runner, client);
        // A COMMIT of a transaction in which a statement failed and was caught answers ROLLBACK without an error.
        const { command } = await withTimeout(client, client.query('COMMIT'), COMMIT_TIMEOUT_MS);
        if (command !== 'COMMIT') throw new Error('The transaction was aborted by a statement whose error was caught');
        return value;
      } catch (error) {
        const heard = bytesReceived(client);
        const left = await withTimeout(client, client.query('ROLLBACK')).catch((gone: unknown) => ({ gone }));
        // If it failed, the connection is gone, and the transaction with it. A unit that took too long has done so for that,
        // unless something was heard: a ROLLBACK waits for whatever the unit has asked for, however slow that is.
        const isSilent = 'gone' in left && bytesReceived(client) === heard;
        const cause = isSilent && error instanceof UnitTimedOut ? left.gone : error;
        throw isConnectionLost(cause) ? new DatabaseUnavailable('The database went away', { cause }) : error;
      }
    } finally {
      await runner.release();
    }
  }

  private async runUnit<T>(runner: QueryRunner, client: ClientBase, work: (unit: Unit) => Promise<T>) {
    const unit = new Unit();
    const connection = fenced(client, unit);
    unit.openManager = () => this.runnerOf(unit, runner, connection).manager;
    unit.sql = new PostgresSql(async (config) => connection.query(config));
    let timer: NodeJS.Timeout | undefined;
    try {
      const limit = new Promise<never>((_, reject) => {
        timer = setTimeout(() => reject(new UnitTimedOut()), UNIT_LIMIT_MS);
      });
      const started = performance.now();
      const value = await Promise.race([unit.complete(work), limit]);
      // Whoever lets nobody else run doesn't hear the timer.
      if (performance.now() - started > UNIT_LIMIT_MS) throw new UnitTimedOut();
      unit.end('This unit of work was committed');
      return { unit, value };
    } catch (error) {
      unit.end('This unit of work was rolled back');
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  /**
   * A query runner of this unit for TypeORM, over the one that holds the connection. Fenced at the connection: TypeORM
   * awaits this and that between being asked and sending, and the unit may end meanwhile.
   */
  private runnerOf(unit: Unit, holder: QueryRunner, connection: FencedConnection): QueryRunner {
    const runner = Object.create(holder) as QueryRunner & Record<string, unknown>;
    const Broadcaster = holder.broadcaster.constructor as new (runner: QueryRunner) => QueryRunner['broadcaster'];
    const query = holder.query.bind(runner);
    return Object.assign(runner, {
      // The holder is released with the unit; whoever comes late shall hear of the unit, not of the holder.
      isReleased: false,
      connect: async () => connection,
      broadcaster: new Broadcaster(runner),
      manager: this.dataSource.createEntityManager(runner),
      query: async (...parameters: Parameters<QueryRunner['query']>) => {
        unit.assertOpen();
        try {
          return (await query(...parameters)) as unknown;
        } catch (error) {
          throw error instanceof QueryFailedError && error.driverError instanceof UnitEnded ? error.driverError : error;
        }
      },
    });
  }
}

type FencedConnection = Pick<ClientBase, 'query'>;

/** The connection, for as long as the unit is open. */
function fenced(client: ClientBase, unit: Unit): FencedConnection {
  const query = (...parameters: Parameters<ClientBase['query']>) => {
    unit.assertOpen();
    return client.query(...parameters) as unknown;
  };
  return { query: query as ClientBase['query'] };
}

/** Named prepared statements: parsed and planned once per connection. */
export class PostgresSql implements Sql {
  readonly dialect = 'postgres';

  constructor(
    private readonly query: (config: {
      name: string;
      text: string;
      values: SqlValue[];
    }) => Promise<{ rows: unknown[]; rowCount: number | null }>,
  ) {}

  async all<Row>(statement: string, parameters: readonly SqlValue[] = []): Promise<Row[]> {
    return (await this.query(named(statement, parameters))).rows as Row[];
  }

  async run(statement: string, parameters: readonly SqlValue[] = []): Promise<number> {
    return (await this.query(named(statement, parameters))).rowCount ?? 0;
  }
}

const names = new Map<string, string>();

function named(text: string, parameters: readonly SqlValue[]) {
  let name = names.get(text);
  if (!name) names.set(text, (name = `mesh_${createHash('sha1').update(text).digest('hex').slice(0, 20)}`));
  return { name, text, values: [...parameters] };
}

async function unavailable<T>(attempt: () => Promise<T>): Promise<T> {
  try {
    return await attempt();
  } catch (error) {
    throw new DatabaseUnavailable('The database is not available', { cause: error });
  }
}
