import { createHash } from 'node:crypto';
import type { ClientBase } from 'pg';
import type { DataSource, QueryRunner } from 'typeorm';
import { DatabaseUnavailable, UNIT_LIMIT_MS, UnitTimedOut, type Sql, type SqlValue } from './sql.js';
import { Unit, type UnitEngine } from './unit.js';

/** Units of work as pooled transactions (READ COMMITTED), with the same fence as on SQLite. */
export class PostgresEngine implements UnitEngine {
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
    const query = runner.query.bind(runner);
    runner.query = (async (...parameters: Parameters<QueryRunner['query']>) => {
      unit.assertOpen();
      return query(...parameters) as Promise<unknown>;
    }) as QueryRunner['query'];
    unit.manager = runner.manager;
    unit.sql = new PostgresSql(async (config) => {
      unit.assertOpen();
      return client.query(config);
    });
    let timer: NodeJS.Timeout | undefined;
    try {
      const limit = new Promise<never>((_, reject) => {
        timer = setTimeout(() => reject(new UnitTimedOut()), UNIT_LIMIT_MS);
      });
      const value = await Promise.race([work(unit).then((it) => unit.committing().then(() => it)), limit]);
      unit.end('This unit of work was committed');
      // Not runner.commitTransaction(): its query is fenced by now. A COMMIT of a transaction in which a statement
      // failed and was caught answers ROLLBACK without an error.
      const { command } = await unavailable(() => client.query('COMMIT'));
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
