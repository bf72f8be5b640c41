import type { MigrationHistory } from '../../src/infrastructure/persistence/migrate.js';
import type { Sql } from '../../src/infrastructure/persistence/sql.js';

/** A value on its way from one database to the other. PostgreSQL's are text, whatever their type; booleans are 0 or 1. */
export type Value = string | number | bigint | Buffer | null;

export interface Column {
  readonly name: string;
  readonly type: string;
}

/** Rows of one table that travel together. `where` and `order` are SQL; columns that are left out are made anew. */
export interface ModuleRows {
  readonly table: string;
  readonly where: string;
  readonly order?: string;
  readonly regenerated?: string;
}

/** A database that a module leaves or moves into, on one connection. */
export interface Location extends Sql {
  /** As in DATABASE_URL, without user and password; the path of a file in full. */
  readonly address: string;
  /** Equal for equal databases, however they are spelled. */
  identity(): Promise<string>;
  /** Begins a transaction that may take as long as it likes. */
  begin(): Promise<void>;
  commit(): Promise<void>;
  /** Keeps everybody else from these tables until the transaction is over. @throws Refused while another process is connected */
  lock(tables: readonly string[]): Promise<void>;
  /** Outside a transaction. @returns what was applied */
  migrate(histories: MigrationHistory[]): Promise<string[]>;
  /** Those whose names begin with `prefix`, as they were made: what a foreign key points to comes first. */
  tables(prefix: string): Promise<string[]>;
  columns(table: string): Promise<Column[]>;
  /** Reads rows some at a time, inside a transaction; nothing else may be asked of this place meanwhile. */
  batches(parcel: ModuleRows, columns: readonly Column[]): AsyncIterable<Value[][]>;
  /** Inserts rows, but for those whose key is there already. */
  insert(table: string, columns: readonly Column[], rows: readonly Value[][]): Promise<void>;
  /** The last number that a column gave out by itself, if it is known. */
  lastNumber(table: string, column: string): Promise<string | undefined>;
  /** Columns that number rows go on after the rows that are there, and after what they gave out at the other place. */
  continueNumbers(table: string, other: Location): Promise<void>;
  /** Lets go of the connection, and of a transaction that is open. */
  close(): Promise<void>;
}

/** Rows that are in memory at a time. */
export const BATCH = 250;

/** The extraction can't be done as things are; nothing was changed by asking. */
export class Refused extends Error {
  override readonly name = 'Refused';
}

export function inUse(address: string): Refused {
  return new Refused(`${address} is in use by another process: stop it first`);
}
