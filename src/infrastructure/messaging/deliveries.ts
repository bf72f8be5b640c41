import { v7 as uuidv7 } from 'uuid';
import type { Sql, SqlValue } from '../persistence/sql.js';
import type { UnitOfWork } from '../persistence/unit-of-work.js';
import type { CloudEvent } from './cloud-event.js';

/*
 * The statements of the outbox, the deliveries and the dead letters: one function for each thing that happens to a
 * row. Rows are claimed by their state; there is no 'last id' that a late commit could hide behind.
 */

/** A message on its way to one consumer. */
export interface Delivery {
  /** Opaque; order is the database's business. */
  readonly seq: SqlValue;
  readonly consumer: string;
  readonly key: string;
  readonly event: CloudEvent;
  /** Tries that failed so far. */
  readonly attempts: number;
}

/**
 * Turns the oldest messages of the outbox into one delivery per consumer, in their order.
 * @returns the consumers that got work, and whether the outbox may hold more
 */
export async function fanOut(
  sql: Sql,
  consumersOf: (type: string) => readonly string[],
  limit: number,
): Promise<{ consumers: Set<string>; more: boolean }> {
  const consumers = new Set<string>();
  if (sql.dialect === 'postgres') {
    // One process at a time: two of them would interleave the messages of a key.
    const [lock] = await sql.all<{ free: boolean }>(
      `SELECT pg_try_advisory_xact_lock(hashtext('mesh_outbox')) AS free`,
    );
    if (!lock?.free) return { consumers, more: false };
  }
  const rows = await sql.all<{ seq: SqlValue; id: string; type: string; partition_key: string; event: string }>(
    `SELECT seq, id, type, partition_key, event FROM mesh_outbox ORDER BY seq LIMIT $1`,
    [limit],
  );
  if (rows.length === 0) return { consumers, more: false };
  const now = Date.now();
  const deliveries: SqlValue[][] = [];
  for (const { id, type, partition_key, event } of rows) {
    for (const consumer of consumersOf(type)) {
      consumers.add(consumer);
      deliveries.push([consumer, id, type, partition_key, event, now]);
    }
  }
  await insertDeliveries(sql, deliveries);
  await sql.run(`DELETE FROM mesh_outbox WHERE seq IN ${list(sql)}`, [JSON.stringify(rows.map(({ seq }) => seq))]);
  return { consumers, more: rows.length === limit };
}

async function insertDeliveries(sql: Sql, rows: SqlValue[][]): Promise<void> {
  if (rows.length === 0) return;
  const columns = 'consumer, id, type, partition_key, event, created_at, due_at';
  if (sql.dialect === 'sqlite') {
    for (const row of rows) {
      await sql.run(`INSERT INTO mesh_delivery (${columns}) VALUES ($1, $2, $3, $4, $5, $6, $6)`, row);
    }
    return;
  }
  await sql.run(
    `INSERT INTO mesh_delivery (${columns})
     SELECT it->>0, it->>1, it->>2, it->>3, it->>4, (it->>5)::double precision, (it->>5)::double precision
     FROM json_array_elements($1::json) WITH ORDINALITY AS them(it, place) ORDER BY place`,
    [JSON.stringify(rows)],
  );
}

/**
 * What a consumer is to try now: first attempts in order, or retries that are due.
 * @param busy those that are under way already
 */
export async function due(
  work: UnitOfWork,
  which: 'first attempts' | 'retries',
  consumer: string,
  limit: number,
  busy: readonly SqlValue[],
  now: number,
): Promise<Delivery[]> {
  const isDue = which === 'retries' ? 'attempts > 0 AND due_at <= $4 ORDER BY due_at' : 'attempts = 0 ORDER BY seq';
  const parameters = [consumer, JSON.stringify(busy), limit, ...(which === 'retries' ? [now] : [])];
  const look = async () => {
    const { sql } = work;
    // A row that another process is handling is locked; it will be gone when that has committed.
    const skip = sql.dialect === 'postgres' ? 'FOR UPDATE SKIP LOCKED' : '';
    const rows = await sql.all<Omit<Delivery, 'event'> & { event: string }>(
      `SELECT seq, consumer, partition_key AS key, event, attempts FROM mesh_delivery
       WHERE consumer = $1 AND seq NOT IN ${list(sql, 2)} AND ${isDue} LIMIT $3 ${skip}`,
      parameters,
    );
    return rows.map((row) => ({ ...row, event: JSON.parse(row.event) as CloudEvent }));
  };
  // Only a transaction that may write can skip locked rows.
  return work.sql.dialect === 'postgres' ? work.run(look) : look();
}

/** When the next retry of a consumer after `now` is due, both in ms since 1970. */
export async function nextRetryAt(sql: Sql, consumer: string, now: number): Promise<number | undefined> {
  const [row] = await sql.all<{ at: number | null }>(
    `SELECT MIN(due_at) AS at FROM mesh_delivery WHERE consumer = $1 AND attempts > 0 AND due_at > $2`,
    [consumer, now],
  );
  return row?.at ?? undefined;
}

/**
 * Takes a delivery, in the unit of work that handles it: gone when that commits, there as before when it doesn't.
 * @returns false when another process has it under way, or is done with it
 */
export async function claim(sql: Sql, { seq }: Delivery): Promise<boolean> {
  const free =
    sql.dialect === 'postgres' ? '(SELECT seq FROM mesh_delivery WHERE seq = $1 FOR UPDATE SKIP LOCKED)' : '$1';
  return (await sql.run(`DELETE FROM mesh_delivery WHERE seq = ${free}`, [seq])) > 0;
}

/** Puts a delivery off after a failed try. */
export async function postpone(sql: Sql, { seq, attempts }: Delivery, waitMs: number, error: string): Promise<void> {
  await sql.run(
    `UPDATE mesh_delivery SET attempts = attempts + 1, due_at = $2, last_error = $3 WHERE seq = $1 AND attempts = $4`,
    [seq, Date.now() + waitMs, error, attempts],
  );
}

/** Gives a delivery up. */
export async function bury(sql: Sql, delivery: Delivery, cause: string, error: string): Promise<void> {
  if (!(await claim(sql, delivery))) return;
  const { consumer, event, attempts } = delivery;
  await sql.run(
    `INSERT INTO mesh_dead_letter (id, consumer, event_id, type, subject, event, attempts, cause, error, dead_at)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
    [
      ...[uuidv7(), consumer, event.id, event.type, event.subject ?? null, JSON.stringify(event)],
      ...[attempts + 1, cause, error, Date.now()],
    ],
  );
}

/** A message that was given up, as stored. */
export interface DeadLetterRow {
  readonly id: string;
  readonly consumer: string;
  readonly event: string;
  readonly type: string;
  readonly subject: string | null;
  readonly attempts: number;
  readonly cause: string;
  readonly error: string;
  readonly dead_at: number;
}

/** Gives a dead letter to the consumer that failed, and to nobody else; the event keeps its id. */
export async function revive(sql: Sql, letter: DeadLetterRow): Promise<void> {
  if ((await sql.run(`DELETE FROM mesh_dead_letter WHERE id = $1`, [letter.id])) === 0) return;
  const event = JSON.parse(letter.event) as CloudEvent;
  const key = event.partitionkey ?? event.subject ?? event.id;
  await insertDeliveries(sql, [[letter.consumer, event.id, event.type, key, letter.event, Date.now()]]);
}

/** A list parameter: `$n` holds a JSON array of sequence numbers. */
function list(sql: Sql, parameter = 1): string {
  return sql.dialect === 'postgres'
    ? `(SELECT json_array_elements_text($${parameter}::json)::bigint)`
    : `(SELECT value FROM json_each($${parameter}))`;
}
