import type { MigrationHistory } from '../../src/infrastructure/persistence/migrate.js';
import type { Sql } from '../../src/infrastructure/persistence/sql.js';
import { RefusedError } from '../errors.js';

/** A value that is copied between databases. Values of PostgreSQL are text, whatever their type; booleans are 0 or 1. */
export type Value = string | number | bigint | Buffer | null;

export interface Column {
  readonly name: string;
  readonly type: string;
}

/** Rows of a module in one table. `where` and `order` are SQL. The column `regenerated` gets new values. */
export interface ModuleRows {
  readonly table: string;
  readonly where: string;
  readonly order?: string;
  readonly regenerated?: string;
}

/** A database that a module leaves or moves to, on one connection. */
export interface Location extends Sql {
  /** As in DATABASE_URL, but without user and password, and with the absolute path of a file. */
  readonly address: string;
  /** Equal for two addresses of the same database. */
  identity(): Promise<string>;
  /** Begins a transaction without a time limit. */
  begin(): Promise<void>;
  commit(): Promise<void>;
  /** Locks tables until the end of the transaction. @throws RefusedError while another process is connected */
  lock(tables: readonly string[]): Promise<void>;
  /** Runs migrations, outside of a transaction. @returns the names of the applied ones */
  migrate(histories: MigrationHistory[]): Promise<string[]>;
  /** Tables whose names begin with `prefix`, in the order of their creation, so that foreign keys point backwards. */
  tables(prefix: string): Promise<string[]>;
  columns(table: string): Promise<Column[]>;
  /** Reads rows in batches, inside a transaction. Run no other statement on this connection meanwhile. */
  batches(rows: ModuleRows, columns: readonly Column[]): AsyncIterable<Value[][]>;
  /** Inserts rows; rows whose key exists are skipped. */
  insert(table: string, columns: readonly Column[], rows: readonly Value[][]): Promise<void>;
  /** The last number that the database generated for a column, if known. */
  lastNumber(table: string, column: string): Promise<string | undefined>;
  /** Lets generated numbers continue above all rows here, and above the last number that the other database generated. */
  continueNumbers(table: string, other: Location): Promise<void>;
  /** Rolls back an open transaction, and closes the connection. */
  close(): Promise<void>;
}

/** Rows that are in memory at the same time. */
export const BATCH = 250;

export function inUse(address: string): RefusedError {
  return new RefusedError(`${address} is in use by another process: stop it first`);
}
