import type BetterSqlite3 from 'better-sqlite3';
import type { DataSource } from 'typeorm';
import { migrate, type MigrationHistory } from '../../src/infrastructure/persistence/migrate.js';
import {
  isBusy,
  sqliteConnection,
  SqliteStatements,
} from '../../src/infrastructure/persistence/sqlite/sqlite-statements.js';
import { BATCH, inUse, type Column, type ModuleRows, type Location, type Value } from './location.js';

/** A SQLite file that this process has to itself from opening to closing. */
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
    // Every open connection holds a shared lock on the file in WAL mode, also one that does nothing; ours is exclusive
    // from the first write transaction on, and stays so between transactions.
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
    // The whole file is ours.
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
    // Integers as they are: not all of them fit into a number of JavaScript.
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
    const places = columns.map(() => '?').join(', ');
    // Text that PostgreSQL wrote for a number becomes one by the type of its column.
    const insert = this.file.prepare(`INSERT INTO ${table} (${names}) VALUES (${places}) ON CONFLICT DO NOTHING`);
    for (const row of rows) insert.run(row);
  }

  async lastNumber(table: string): Promise<string | undefined> {
    const [row] = await this.all<{ seq: number }>('SELECT seq FROM sqlite_sequence WHERE name = $1', [table]);
    return row && String(row.seq);
  }

  async continueNumbers(): Promise<void> {
    // SQLite looks at the rows that are there.
  }

  async close(): Promise<void> {
    await this.dataSource.destroy();
  }
}
