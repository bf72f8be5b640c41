import type BetterSqlite3 from 'better-sqlite3';
import { QueryResult, type DataSource } from 'typeorm';
import type { Sql, SqlParameter } from '../sql.js';

interface Prepared {
  readonly statement: BetterSqlite3.Statement;
  /** Index of the parameter at each position, unless they stand in their order. */
  readonly order?: number[];
}

/** The prepared statements of one connection. */
export class SqliteStatements implements Sql {
  readonly dialect = 'sqlite';
  private readonly cache = new Map<string, Prepared>();

  constructor(private readonly db: BetterSqlite3.Database) {}

  async all<Row>(text: string, parameters: readonly SqlParameter[] = []): Promise<Row[]> {
    return this.rows(text, parameters) as Row[];
  }

  async run(text: string, parameters: readonly SqlParameter[] = []): Promise<number> {
    return this.changes(text, parameters);
  }

  /** The rows of a statement whose parameters are written `$1`, `$2`, …; each may occur several times. */
  rows(text: string, parameters: readonly SqlParameter[]): unknown[] {
    const { statement, order } = this.numbered(text);
    const values = order ? order.map((index) => parameters[index]) : parameters;
    if (statement.reader) return statement.all(...values);
    statement.run(...values);
    return [];
  }

  /** How many rows a statement has changed; parameters as in `rows()`. */
  changes(text: string, parameters: readonly SqlParameter[]): number {
    const { statement, order } = this.numbered(text);
    const values = order ? order.map((index) => parameters[index]) : parameters;
    return statement.reader ? statement.all(...values).length : statement.run(...values).changes;
  }

  private numbered(text: string): Prepared {
    const known = this.cache.get(text);
    if (known) return known;
    const order: number[] = [];
    const positional = text.replace(/\$(\d+)/g, (_, number: string) => {
      order.push(Number(number) - 1);
      return '?';
    });
    const isAsGiven = order.every((index, place) => index === place);
    return this.keep(text, { statement: this.db.prepare(positional), ...(!isAsGiven && { order }) });
  }

  /** Runs a statement of TypeORM, whose parameters are written `?`. */
  positional(text: string, parameters: readonly SqlParameter[]): StatementResult {
    // A text without parameters may also be in the cache as a numbered statement.
    const key = `typeorm: ${text}`;
    const entry = this.cache.get(key) ?? this.keep(key, { statement: this.db.prepare(text) });
    // better-sqlite3 binds no booleans.
    return execute(
      entry.statement,
      parameters.map((value) => (typeof value === 'boolean' ? Number(value) : value)),
    );
  }

  /** Runs BEGIN, COMMIT, SAVEPOINT and the like. */
  control(text: string): void {
    this.changes(text, []);
  }

  private keep(text: string, entry: Prepared): Prepared {
    this.cache.set(text, entry);
    // Lists of values make many texts of one statement: drop the oldest.
    if (this.cache.size > 500) this.cache.delete(this.cache.keys().next().value!);
    return entry;
  }
}

class StatementResult {
  constructor(
    readonly rows: unknown[],
    readonly affected: number,
    private readonly lastId?: number | bigint,
  ) {}

  /** The result in the shape of TypeORM's own runner for better-sqlite3. */
  forTypeOrm(structured: boolean): unknown {
    const raw = this.lastId === undefined ? this.rows : this.lastId;
    if (!structured) return raw;
    const result = new QueryResult();
    result.raw = raw;
    if (this.lastId === undefined) result.records = this.rows;
    else result.affected = this.affected;
    return result;
  }
}

function execute(statement: BetterSqlite3.Statement, parameters: unknown[]): StatementResult {
  if (statement.reader) {
    const rows = statement.all(...parameters);
    return new StatementResult(rows, rows.length);
  }
  const { changes, lastInsertRowid } = statement.run(...parameters);
  return new StatementResult([], changes, lastInsertRowid);
}

/** The better-sqlite3 connection of a TypeORM data source. */
export function sqliteConnection(dataSource: DataSource): BetterSqlite3.Database {
  return (dataSource.driver as unknown as { databaseConnection: BetterSqlite3.Database }).databaseConnection;
}

/** Whether a write breaks a constraint. */
export function isConstraint(error: unknown): boolean {
  return String((error as { code?: unknown }).code).startsWith('SQLITE_CONSTRAINT');
}

/** Whether another connection holds a lock. */
export function isBusy(error: unknown): boolean {
  return String((error as { code?: unknown }).code).startsWith('SQLITE_BUSY');
}
