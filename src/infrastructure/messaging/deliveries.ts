import type { Sql, SqlValue } from '../persistence/sql.js';
import type { UnitOfWork } from '../persistence/unit-of-work.js';
import type { CloudEvent } from './cloud-event.js';

/*
 * The statements of the outbox and the deliveries: one function for each thing that happens to a
 * row. Rows are claimed by their state; there is no 'last id' that a late commit could hide behind.
 */

/** The consumers of a message: by its type, or by whatever `event` (its JSON) says. */
export type Route = (type: string, event: string) => readonly string[];

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
  route: Route,
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
  const rows = await sql.all<OutboxRow>(`SELECT ${OUTBOX_ROW} FROM mesh_outbox ORDER BY seq LIMIT $1`, [limit]);
  if (rows.length === 0) return { consumers, more: false };
  const now = Date.now();
  const deliveries: SqlValue[][] = [];
  for (const { id, type, partition_key, event } of rows) {
    for (const consumer of route(type, event)) {
      consumers.add(consumer);
      deliveries.push([consumer, id, type, partition_key, event, now]);
    }
  }
  await insertRows(sql, deliveries);
  await removeFromOutbox(
    sql,
    rows.map(({ seq }) => seq),
  );
  return { consumers, more: rows.length === limit };
}

/** A message in the outbox; `event` is its JSON. */
export interface OutboxRow {
  readonly seq: SqlValue;
  readonly id: string;
  readonly type: string;
  readonly partition_key: string;
  readonly event: string;
}

const OUTBOX_ROW = 'seq, id, type, partition_key, event';

/**
 * The oldest messages of the outbox.
 * @param loaded those that whoever asks has already
 * @param held partition keys whose messages are left where they are
 */
export async function outboxRows(
  sql: Sql,
  loaded: readonly SqlValue[],
  held: readonly string[],
  limit: number,
): Promise<OutboxRow[]> {
  const keys =
    sql.dialect === 'postgres' ? `(SELECT json_array_elements_text($2::json))` : `(SELECT value FROM json_each($2))`;
  return sql.all<OutboxRow>(
    `SELECT ${OUTBOX_ROW} FROM mesh_outbox
     WHERE seq NOT IN ${list(sql)} AND partition_key NOT IN ${keys} ORDER BY seq LIMIT $3`,
    [JSON.stringify(loaded), JSON.stringify(held), limit],
  );
}

/** A message for one consumer. */
export interface NewDelivery {
  readonly consumer: string;
  readonly event: CloudEvent;
}

/** Adds deliveries, first attempts all of them, in their order. */
export async function insertDeliveries(sql: Sql, deliveries: readonly NewDelivery[]): Promise<void> {
  const now = Date.now();
  const rows = deliveries.map(({ consumer, event }) => {
    const key = event.partitionkey ?? event.subject ?? event.id;
    return [consumer, event.id, event.type, key, JSON.stringify(event), now];
  });
  await insertRows(sql, rows);
}

async function insertRows(sql: Sql, rows: SqlValue[][]): Promise<void> {
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

/** Who has deliveries here, and how many. */
export async function consumersWithDeliveries(sql: Sql): Promise<{ consumer: string; n: number }[]> {
  const rows = await sql.all<{ consumer: string; n: number | string }>(
    `SELECT consumer, COUNT(*) AS n FROM mesh_delivery GROUP BY consumer`,
  );
  return rows.map(({ consumer, n }) => ({ consumer, n: Number(n) }));
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

/** Takes messages that have left out of the outbox. */
export async function removeFromOutbox(sql: Sql, seqs: readonly SqlValue[]): Promise<number> {
  return sql.run(`DELETE FROM mesh_outbox WHERE seq IN ${list(sql)}`, [JSON.stringify(seqs)]);
}

/** A list parameter: `$n` holds a JSON array of sequence numbers. */
function list(sql: Sql, parameter = 1): string {
  return sql.dialect === 'postgres'
    ? `(SELECT json_array_elements_text($${parameter}::json)::bigint)`
    : `(SELECT value FROM json_each($${parameter}))`;
}
