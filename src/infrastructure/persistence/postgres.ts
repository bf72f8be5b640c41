import { createHash } from 'node:crypto';
import type { ClientBase } from 'pg';
import { QueryFailedError, type DataSource, type QueryRunner } from 'typeorm';
import { DatabaseUnavailable, UNIT_LIMIT_MS, UnitEnded, UnitTimedOut, type Sql, type SqlValue } from './sql.js';
import { Unit, type UnitEngine } from './unit.js';

/** Units of work as pooled transactions (READ COMMITTED), with the same fence as on SQLite. */
export class PostgresEngine implements UnitEngine {
  readonly groups = false;

  constructor(private readonly dataSource: DataSource) {}

  async run<T>(work: (unit: Unit) => Promise<T>): Promise<T> {
    const runner = this.dataSource.createQueryRunner();
    try {
      const client = await unavailable<ClientBase>(() => runner.connect() as Promise<ClientBase>);
      await unavailable(() => runner.startTransaction());
      return await this.unit(runner, client, work);
    } finally {
      await runner.release();
    }
  }

  private async unit<T>(runner: QueryRunner, client: ClientBase, work: (unit: Unit) => Promise<T>): Promise<T> {
    const unit = new Unit();
    const connection = fenced(client, unit);
    unit.openManager = () => this.dataSource.createEntityManager(this.runnerOf(unit, runner, connection));
    unit.sql = new PostgresSql(async (config) => connection.query(config));
    let timer: NodeJS.Timeout | undefined;
    try {
      const limit = new Promise<never>((_, reject) => {
        timer = setTimeout(() => reject(new UnitTimedOut()), UNIT_LIMIT_MS);
      });
      const value = await Promise.race([unit.complete(work), limit]);
      unit.end('This unit of work was committed');
      // A COMMIT of a transaction in which a statement failed and was caught answers ROLLBACK without an error.
      const { command } = await client.query('COMMIT');
      if (command !== 'COMMIT') throw new Error('The transaction was aborted by a statement whose error was caught');
      unit.committed();
      return value;
    } catch (error) {
      unit.end('This unit of work was rolled back');
      await client.query('ROLLBACK').catch(() => undefined); // the connection is gone, and the transaction with it
      throw connectionLost(error) ? new DatabaseUnavailable('The database went away', { cause: error }) : error;
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

/** PostgreSQL's own classes for a lost or refused connection and a server going down, and the socket's errors. */
function connectionLost(error: unknown): boolean {
  const cause = (error as { driverError?: unknown }).driverError ?? error;
  const { code, message } = cause as { code?: unknown; message?: unknown };
  return (
    /^(08|57P0|53)/.test(String(code)) ||
    /^(ECONNREFUSED|ECONNRESET|EPIPE|ETIMEDOUT)$/.test(String(code)) ||
    /connection (terminated|error|ended)|not queryable/i.test(String(message))
  );
}
