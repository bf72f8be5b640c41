import type { Sql, SqlValue } from '../persistence/sql.js';

/** How long the mesh keeps its rows, in ms. */
export interface RetentionPolicy {
  readonly inboxMs: number;
  readonly deadLetterMs: number;
  /** How long after it died a dead letter may be requeued without `force`. */
  readonly replayWindowMs: number;
  /** How long the journal tells what became of a message; 0 for no journal. */
  readonly journalMs: number;
}

/** The injection token of the `RetentionPolicy` of this process. */
export const RETENTION_POLICY = Symbol('RETENTION_POLICY');

/** Rows that have lost their use. */
export interface ExpiredRows {
  /** The name of the table, as SQL writes it. */
  readonly table: string;
  /** Which of its rows, with the parameters `$1`, `$2`, … An index has to find them. */
  readonly where: string;
  readonly parameters: readonly SqlValue[];
}

/** Deletes up to `limit` of the rows. @returns how many */
export async function deleteExpired(
  sql: Sql,
  { table, where, parameters }: ExpiredRows,
  limit: number,
): Promise<number> {
  // Both databases can name a row without its key.
  const row = sql.dialect === 'postgres' ? 'ctid' : 'rowid';
  const expired = `SELECT ${row} FROM ${table} WHERE ${where} LIMIT ${limit}`;
  const rows = sql.dialect === 'postgres' ? `${row} = ANY (ARRAY(${expired}))` : `${row} IN (${expired})`;
  // PostgreSQL without its fix of September 2025 tests a row that was updated meanwhile by the last condition only.
  return sql.run(`DELETE FROM ${table} WHERE ${rows} AND (${where})`, parameters);
}

/** The time by the clock that all processes of a database share, in ms since 1970. */
export async function databaseTime(sql: Sql): Promise<number> {
  if (sql.dialect === 'sqlite') return Date.now();
  const [row] = await sql.all<{ ms: number }>(
    'SELECT (extract(epoch FROM clock_timestamp()) * 1000)::double precision AS ms',
  );
  return Math.floor(row!.ms);
}
