import type BetterSqlite3 from 'better-sqlite3';
import { QueryFailedError, type DataSource, type QueryRunner } from 'typeorm';
import { errorMessage } from '../../observability/error-message.js';
import { DatabaseUnavailable, isFileUnusable, UnitEnded, type Sql, type SqlValue, type SqlParameter } from '../sql.js';
import type { SqliteStatements } from './sqlite-statements.js';
import type { Unit } from '../unit.js';
import { assertKeepsTransaction } from '../transaction-control.js';

/**
 * The access of one unit to the shared connection; every use after the end of the unit throws. Without the fence, a write
 * that was not awaited would land in the next unit.
 */
export class SqliteFence implements Sql {
  readonly dialect = 'sqlite';
  /**
   * Set when SQLite can't use the file. It may have rolled the transaction back by itself (disk full, I/O error): later
   * writes would be autocommitted.
   */
  broken?: DatabaseUnavailable;

  constructor(
    private readonly db: BetterSqlite3.Database,
    private readonly statements: SqliteStatements,
    private readonly unit: Unit,
  ) {}

  async all<Row>(statement: string, parameters: readonly SqlParameter[] = []): Promise<Row[]> {
    this.unit.wrote(statement);
    return this.guard(statement, () => this.statements.rows(statement, parameters) as Row[]);
  }

  async run(statement: string, parameters: readonly SqlParameter[] = []): Promise<number> {
    this.unit.wrote(statement);
    return this.guard(statement, () => this.statements.changes(statement, parameters));
  }

  /** A query runner of this unit for TypeORM, in a transaction that TypeORM neither opens nor closes. */
  queryRunner(dataSource: DataSource): QueryRunner {
    // TypeORM has one runner for SQLite. This one inherits from it, with its own state and its own `query`.
    const runner = Object.create(dataSource.createQueryRunner()) as QueryRunner & Record<string, unknown>;
    Object.assign(runner, { isTransactionActive: true, transactionDepth: 1, data: {}, loadedTables: [] });
    const Broadcaster = runner.broadcaster.constructor as new (runner: QueryRunner) => QueryRunner['broadcaster'];
    const execute = (text: string, parameters: SqlValue[], structured: boolean, by: QueryRunner): unknown => {
      dataSource.logger.logQuery(text, parameters, by);
      try {
        return this.guard(text, () => this.statements.positional(text, parameters).forTypeOrm(structured));
      } catch (error) {
        if (error instanceof UnitEnded || error instanceof DatabaseUnavailable) throw error;
        dataSource.logger.logQueryError(error as Error, text, parameters, by);
        // JSON has no bigint.
        const given = parameters.map((it) => (typeof it === 'bigint' ? Number(it) : it));
        throw new QueryFailedError(text, given, error as Error);
      }
    };
    const { unit } = this;
    return Object.assign(runner, {
      broadcaster: new Broadcaster(runner),
      manager: dataSource.createEntityManager(runner),
      // `this` is this runner, or one of an application's data source, which inherits from it.
      query: async function (this: QueryRunner, statement: string, parameters: SqlValue[] = [], structured = false) {
        return unit.savepoints.send(this, statement, async (text) => execute(text, parameters, structured, this));
      },
    });
  }

  private guard<T>(text: string, execute: () => T): T {
    this.unit.assertOpen();
    assertKeepsTransaction(text, 'sqlite');
    try {
      return execute();
    } catch (error) {
      if (!this.db.inTransaction || isFileUnusable(error)) {
        const what = this.db.inTransaction ? "The database can't be used" : 'SQLite rolled the transaction back';
        this.broken = new DatabaseUnavailable(`${what}: ${errorMessage(error)}`, { cause: error });
        this.unit.end(this.broken);
        throw this.broken;
      }
      throw error;
    }
  }
}
