import type { Sql } from '../persistence/sql.js';
import { WAITING } from './delivery-rows.js';

/* For tests: time passes by making what the mesh keeps older. */

/** The columns that hold a time, in ms since 1970. */
const TIMES = {
  mesh_outbox: ['created_at'],
  mesh_delivery: ['created_at', 'due_at'],
  mesh_inbox: ['handled_at'],
  mesh_dead_letter: ['dead_at'],
  mesh_idempotency_key: ['created_at'],
};

/** Makes all rows older by some ms. */
export async function passTime(sql: Sql, ms: number): Promise<void> {
  for (const [table, columns] of Object.entries(TIMES)) {
    const older = columns.map((column) => `${column} = ${column} - $1`).join(', ');
    await sql.run(`UPDATE ${table} SET ${older}`, [ms]);
  }
}

/** Ends the waits of deliveries that are postponed until after `now` (ms since 1970). */
export async function makeDueAt(sql: Sql, now: number): Promise<void> {
  await sql.run('UPDATE mesh_delivery SET due_at = $1 WHERE attempts > 0 AND due_at > $1 AND due_at < $2', [
    now,
    WAITING,
  ]);
}

/** Deliveries that aren't handled yet. */
export async function undelivered(
  sql: Sql,
): Promise<{ consumer: string; type: string; attempts: number; error: string | null }[]> {
  return sql.all('SELECT consumer, type, attempts, last_error AS error FROM mesh_delivery ORDER BY seq LIMIT 20');
}
