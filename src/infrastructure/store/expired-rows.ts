import type { Sql } from '../persistence/sql.js';

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

/** A table that is cleaned up, with the column that tells the age of a row (ms since 1970). */
export interface ExpiringTable {
  readonly table: 'mesh_inbox' | 'mesh_dead_letter' | 'mesh_idempotency_key' | 'mesh_journal';
  readonly column: 'handled_at' | 'dead_at' | 'created_at';
}

/** Deletes up to `limit` rows that are older than `before` (ms since 1970). @returns how many */
export async function deleteExpired(
  sql: Sql,
  { table, column }: ExpiringTable,
  before: number,
  limit: number,
): Promise<number> {
  // Both databases can name a row without its key.
  const row = sql.dialect === 'postgres' ? 'ctid' : 'rowid';
  const expired = `SELECT ${row} FROM ${table} WHERE ${column} < $1 LIMIT ${limit}`;
  const rows = sql.dialect === 'postgres' ? `${row} = ANY (ARRAY(${expired}))` : `${row} IN (${expired})`;
  return sql.run(`DELETE FROM ${table} WHERE ${rows}`, [before]);
}

/** The time by the clock that all processes of a database share, in ms since 1970. */
export async function databaseTime(sql: Sql): Promise<number> {
  if (sql.dialect === 'sqlite') return Date.now();
  const [row] = await sql.all<{ ms: number }>(
    'SELECT (extract(epoch FROM clock_timestamp()) * 1000)::double precision AS ms',
  );
  return Math.floor(row!.ms);
}
