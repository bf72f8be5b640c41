import type BetterSqlite3 from 'better-sqlite3';
import type { DataSource } from 'typeorm';
import { migrate, type MigrationHistory } from '../../src/infrastructure/persistence/migrate.js';
import {
  isBusy,
  sqliteConnection,
  SqliteStatements,
} from '../../src/infrastructure/persistence/sqlite/sqlite-statements.js';
import { BATCH, inUse, type Column, type ModuleRows, type Location, type Value } from './location.js';

/** A SQLite file that is locked for other processes from opening to closing. */
export class SqliteLocation extends SqliteStatements implements Location {
  private constructor(
    private readonly dataSource: DataSource,
    private readonly file: BetterSqlite3.Database,
    readonly address: string,
  ) {
    super(file);
  }

  static async open(dataSource: DataSource, address: string): Promise<SqliteLocation> {
    const file = sqliteConnection(dataSource);
    // In WAL mode every open connection holds a shared lock, also an idle one. Ours becomes exclusive with the first
    // write transaction, and stays exclusive between transactions.
    file.pragma('locking_mode = EXCLUSIVE');
    try {
      file.exec('BEGIN IMMEDIATE');
      file.exec('COMMIT');
    } catch (error) {
      throw isBusy(error) ? inUse(address) : error;
    }
    return new SqliteLocation(dataSource, file, address);
  }

  async identity(): Promise<string> {
    return this.address;
  }

  async begin(): Promise<void> {
    this.file.exec('BEGIN IMMEDIATE');
  }

  async commit(): Promise<void> {
    this.file.exec('COMMIT');
  }

  async lock(): Promise<void> {
    // The whole file is locked already.
  }

  async migrate(histories: MigrationHistory[]): Promise<string[]> {
    return migrate(this.dataSource, histories);
  }

  async tables(prefix: string): Promise<string[]> {
    const rows = await this.all<{ name: string }>(
      `SELECT name FROM sqlite_master WHERE type = 'table' AND substr(name, 1, length($1)) = $1 ORDER BY rowid`,
      [prefix],
    );
    return rows.map(({ name }) => name);
  }

  async columns(table: string): Promise<Column[]> {
    return this.all<Column>('SELECT name, type FROM pragma_table_info($1) ORDER BY cid', [table]);
  }

  async *batches({ table, where, order }: ModuleRows, columns: readonly Column[]): AsyncIterable<Value[][]> {
    const names = columns.map(({ name }) => `"${name}"`).join(', ');
    const sorted = order ? `ORDER BY ${order}` : '';
    // As bigint: not all integers of SQLite fit into a JavaScript number.
    const select = this.file.prepare(`SELECT ${names} FROM ${table} WHERE ${where} ${sorted}`).raw().safeIntegers();
    let rows: Value[][] = [];
    for (const row of select.iterate()) {
      rows.push(row as Value[]);
      if (rows.length < BATCH) continue;
      yield rows;
      rows = [];
    }
    if (rows.length > 0) yield rows;
  }

  async insert(table: string, columns: readonly Column[], rows: readonly Value[][]): Promise<void> {
    const names = columns.map(({ name }) => `"${name}"`).join(', ');
    const parameters = columns.map(() => '?').join(', ');
    // SQLite converts PostgreSQL's text to a number, by the type of the column.
    const insert = this.file.prepare(`INSERT INTO ${table} (${names}) VALUES (${parameters}) ON CONFLICT DO NOTHING`);
    for (const row of rows) insert.run(row);
  }

  async lastNumber(table: string): Promise<string | undefined> {
    const [row] = await this.all<{ seq: number }>('SELECT seq FROM sqlite_sequence WHERE name = $1', [table]);
    return row && String(row.seq);
  }

  async continueNumbers(): Promise<void> {
    // SQLite continues above the existing rows by itself.
  }

  async close(): Promise<void> {
    await this.dataSource.destroy();
  }
}
