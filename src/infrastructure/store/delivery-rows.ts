import type { Sql, SqlValue } from '../persistence/sql.js';
import type { CloudEvent } from '../cloudevents/cloud-event.js';
import {
  leaseFence,
  OUTBOX_RESOURCE,
  SHARD,
  SHARDS,
  tokenParameter,
  type Leases,
  type LeaseScope,
} from '../leases/leases.js';

/*
 * The statements of the outbox and the deliveries: one function for each thing that happens to a
 * row. Rows are claimed by their state; there is no 'last id' that a late commit could hide behind.
 */

/**
 * The consumers of a message: by its type, or by whatever `event` (its JSON) says. Undefined where nobody knows what to do
 * with it, which is something else than an event that nobody wants.
 */
export type Route = (type: string, event: string) => readonly string[] | undefined;

/** A message on its way to one consumer. */
export interface Delivery {
  /** Opaque; order is the database's business. */
  readonly seq: SqlValue;
  readonly consumer: string;
  readonly key: string;
  /** Under which lease it was found, where the work is shared. */
  readonly lease?: { readonly resource: string; readonly shard: number; readonly token: number };
  readonly event: CloudEvent;
  /** Tries that failed so far. */
  readonly attempts: number;
}

/**
 * Turns the oldest messages of the outbox into one delivery per consumer, in their order.
 * @returns the consumers that got work, whether the outbox may hold more, and what was taken out of it for nobody
 */
export async function moveToDeliveries(
  sql: Sql,
  route: Route,
  limit: number,
  leases: Leases,
): Promise<{ consumers: Set<string>; more: boolean; unknown: CloudEvent[] }> {
  const consumers = new Set<string>();
  const unknown: CloudEvent[] = [];
  const held = leases.held(OUTBOX_RESOURCE);
  if (held?.size === 0) return { consumers, more: false, unknown };
  // One process for each key: two of them would interleave its messages.
  const rows = held
    ? await sql.all<OutboxRow>(
        `SELECT ${OUTBOX_ROW} FROM mesh_outbox WHERE ${SHARD} = ANY(ARRAY${leaseFence(2, 3)}) ORDER BY seq LIMIT $1`,
        [limit, OUTBOX_RESOURCE, tokenParameter(held)],
      )
    : await sql.all<OutboxRow>(`SELECT ${OUTBOX_ROW} FROM mesh_outbox ORDER BY seq LIMIT $1`, [limit]);
  if (rows.length === 0) return { consumers, more: false, unknown };
  const now = Date.now();
  const deliveries: SqlValue[][] = [];
  for (const { id, type, partition_key, event } of rows) {
    const found = route(type, event);
    if (!found) unknown.push(JSON.parse(event) as CloudEvent);
    for (const consumer of found ?? []) {
      consumers.add(consumer);
      deliveries.push([consumer, id, type, partition_key, event, now]);
    }
  }
  await insertRows(sql, deliveries);
  const seqs = rows.map(({ seq }) => seq);
  // A commit of ours that wasn't answered may be carried out after all, while we do the same again.
  if ((await removeFromOutbox(sql, seqs)) < seqs.length) throw new Error('Some messages were fanned out meanwhile');
  return { consumers, more: rows.length === limit, unknown };
}

/** Whether there is anything to fan out: a look that takes no lock and writes nothing. */
export async function hasOutboxRows(sql: Sql, leases: Leases): Promise<boolean> {
  const held = leases.held(OUTBOX_RESOURCE);
  if (held?.size === 0) return false;
  const rows = await sql.all(
    `SELECT 1 FROM mesh_outbox WHERE true ${inHeldShards(held, 1)} LIMIT 1`,
    shardParameters(held),
  );
  return rows.length > 0;
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
 * The oldest messages of the outbox that are ours to publish.
 * @param loaded those that whoever asks has already
 * @param failing partition keys whose messages are left where they are
 */
export async function outboxRows(
  sql: Sql,
  loaded: readonly SqlValue[],
  failing: readonly string[],
  limit: number,
  leases: Leases,
): Promise<(OutboxRow & { shard?: number })[]> {
  const keys =
    sql.dialect === 'postgres' ? `(SELECT json_array_elements_text($2::json))` : `(SELECT value FROM json_each($2))`;
  const held = leases.held(OUTBOX_RESOURCE);
  if (held?.size === 0) return [];
  return sql.all(
    `SELECT ${OUTBOX_ROW}${held ? `, ${SHARD} AS shard` : ''} FROM mesh_outbox
     WHERE seq NOT IN ${sequenceList(sql)} AND partition_key NOT IN ${keys} ${inHeldShards(held, 4)} ORDER BY seq LIMIT $3`,
    [JSON.stringify(loaded), JSON.stringify(failing), limit, ...shardParameters(held)],
  );
}

/** The event of a message of the outbox, as JSON; undefined when it isn't there any more. */
export async function outboxEvent(sql: Sql, seq: SqlValue): Promise<string | undefined> {
  const [row] = await sql.all<Pick<OutboxRow, 'event'>>('SELECT event FROM mesh_outbox WHERE seq = $1', [seq]);
  return row?.event;
}

/** The condition that a row is in a shard of ours, where that isn't all of them. */
function inHeldShards(held: ReadonlyMap<number, number> | undefined, parameter: number): string {
  return held && held.size < SHARDS
    ? `AND ${SHARD} = ANY(ARRAY(SELECT json_array_elements_text($${parameter}::json)::integer))`
    : '';
}

function shardParameters(held: ReadonlyMap<number, number> | undefined): string[] {
  return held && held.size < SHARDS ? [JSON.stringify([...held.keys()])] : [];
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

const NEW_DELIVERY = 'consumer, id, type, partition_key, event, created_at, due_at';
/** Put together once: a prepared statement is found by its text. */
const INSERT_DELIVERY = `INSERT INTO mesh_delivery (${NEW_DELIVERY}) VALUES ($1, $2, $3, $4, $5, $6, $6)`;

async function insertRows(sql: Sql, rows: SqlValue[][]): Promise<void> {
  if (rows.length === 0) return;
  if (sql.dialect === 'sqlite') {
    for (const row of rows) await sql.run(INSERT_DELIVERY, row);
    return;
  }
  await sql.run(
    `INSERT INTO mesh_delivery (${NEW_DELIVERY})
     SELECT it->>0, it->>1, it->>2, it->>3, it->>4, (it->>5)::double precision, (it->>5)::double precision
     FROM json_array_elements($1::json) WITH ORDINALITY AS them(it, place) ORDER BY place`,
    [JSON.stringify(rows)],
  );
}

/**
 * What a consumer is to try now: first attempts in order, or retries that are due.
 * @param inFlight those that are under way already
 * @param at this time, in ms since 1970; a retry that is put off beyond `unbelievable` was put off by a clock that ran ahead,
 * and is due
 */
export async function dueDeliveries(
  sql: Sql,
  which: 'first attempts' | 'retries',
  consumer: string,
  limit: number,
  inFlight: readonly SqlValue[],
  at: { readonly now: number; readonly unbelievable: number },
  { leases, resource }: LeaseScope,
): Promise<Delivery[]> {
  const held = leases.held(resource);
  if (held?.size === 0) return [];
  const isRetry = which === 'retries';
  const isDue = isRetry
    ? 'attempts > 0 AND (due_at <= $4 OR due_at > $5) ORDER BY due_at'
    : 'attempts = 0 ORDER BY seq';
  const times = isRetry ? [at.now, at.unbelievable] : [];
  const rows = await sql.all<Omit<Delivery, 'event'> & { event: string; shard?: number }>(
    `SELECT seq, consumer, partition_key AS key, event, attempts${held ? `, ${SHARD} AS shard` : ''} FROM mesh_delivery
     WHERE consumer = $1 AND seq NOT IN ${sequenceList(sql, 2)} ${inHeldShards(held, 4 + times.length)} AND ${isDue} LIMIT $3`,
    [consumer, JSON.stringify(inFlight), limit, ...times, ...shardParameters(held)],
  );
  return rows.map(({ shard, ...row }) => ({
    ...row,
    event: JSON.parse(row.event) as CloudEvent,
    ...(held && { lease: { resource, shard: shard!, token: held.get(shard!)! } }),
  }));
}

/** Who has deliveries here: a step from name to name along each index, however many rows they have. */
export async function consumersWithDeliveries(sql: Sql): Promise<string[]> {
  const found = new Set<string>();
  for (const which of ['attempts = 0', 'attempts > 0']) {
    const rows = await sql.all<{ consumer: string }>(
      `WITH RECURSIVE names AS (
         SELECT MIN(consumer) AS consumer FROM mesh_delivery WHERE ${which}
         UNION ALL
         SELECT (SELECT MIN(consumer) FROM mesh_delivery WHERE ${which} AND consumer > names.consumer)
         FROM names WHERE names.consumer IS NOT NULL
       ) SELECT consumer FROM names WHERE consumer IS NOT NULL`,
    );
    for (const { consumer } of rows) found.add(consumer);
  }
  return [...found];
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
export async function claimDelivery(sql: Sql, delivery: Delivery): Promise<boolean> {
  if (!delivery.lease) return (await sql.run('DELETE FROM mesh_delivery WHERE seq = $1', [delivery.seq])) > 0;
  const [condition, parameters] = leaseCondition(delivery, 2);
  return (await sql.run(`DELETE FROM mesh_delivery WHERE seq = $1 ${condition}`, [delivery.seq, ...parameters])) > 0;
}

/** Takes several off, where there are no leases. @returns those that were there, by their sequence numbers */
export async function claimDeliveries(sql: Sql, deliveries: readonly Delivery[]): Promise<Set<SqlValue>> {
  if (deliveries.length === 0) return new Set();
  const rows = await sql.all<{ seq: SqlValue }>(
    `DELETE FROM mesh_delivery WHERE seq IN ${sequenceList(sql)} RETURNING seq`,
    [JSON.stringify(deliveries.map(({ seq }) => seq))],
  );
  return new Set(rows.map(({ seq }) => seq));
}

/** Puts a delivery off after a failed try. @returns false when it is another process's business by now */
export async function postponeDelivery(sql: Sql, delivery: Delivery, waitMs: number, error: string): Promise<boolean> {
  const { seq, attempts } = delivery;
  const [condition, parameters] = leaseCondition(delivery, 5);
  const changed = await sql.run(
    `UPDATE mesh_delivery SET attempts = attempts + 1, due_at = $2, last_error = $3
     WHERE seq = $1 AND attempts = $4 ${condition}`,
    [seq, Date.now() + waitMs, error, attempts, ...parameters],
  );
  return changed > 0;
}

/** The condition that a delivery is still ours, with its parameters from `$n` on. */
function leaseCondition({ lease }: Delivery, n: number): [string, SqlValue[]] {
  if (!lease) return ['', []];
  return [
    `AND ${SHARD} = ANY(ARRAY${leaseFence(n, n + 1)})`,
    [lease.resource, tokenParameter([[lease.shard, lease.token]])],
  ];
}

/** Takes messages that have left out of the outbox. */
export async function removeFromOutbox(sql: Sql, seqs: readonly SqlValue[]): Promise<number> {
  const those = sql.dialect === 'postgres' ? `= ANY(ARRAY${sequenceList(sql)})` : `IN ${sequenceList(sql)}`;
  return sql.run(`DELETE FROM mesh_outbox WHERE seq ${those}`, [JSON.stringify(seqs)]);
}

/** A list parameter: `$n` holds a JSON array of sequence numbers. */
function sequenceList(sql: Sql, parameter = 1): string {
  return sql.dialect === 'postgres'
    ? `(SELECT json_array_elements_text($${parameter}::json)::bigint)`
    : `(SELECT value FROM json_each($${parameter}))`;
}
