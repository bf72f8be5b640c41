import type { CloudEvent } from '../cloudevents/cloud-event.js';
import type { Sql, SqlValue } from '../persistence/sql.js';
import { SIZED_EVENT, withEvents, type SizedRow } from './large-events.js';
import { inHeldShards, leaseFence, SHARD, shardParameters, tokenParameter, type HeldShards } from './lease-rows.js';
import { partitionKeyOf, sequenceList } from './row-parameters.js';

/*
 * Workers select every row that is due, or every row above a `SequenceFloor`, never the rows after the last one that they have
 * read: a transaction that commits late would be skipped that way.
 */

/** A message on its way to one consumer. */
export interface Delivery {
  /** The sequence number; opaque outside of the database. */
  readonly seq: SqlValue;
  readonly consumer: string;
  /** The partition key. */
  readonly key: string;
  /** The lease under which the delivery was found, where replicas share the work. */
  readonly lease?: { readonly resource: string; readonly shard: number; readonly token: number };
  readonly event: CloudEvent;
  /** Attempts that failed so far, and the present one if it is counted. */
  readonly attempts: number;
  /** Whether the present attempt was counted before it began. */
  readonly isCounted?: boolean;
  /** When the delivery was written, in ms since 1970; of due deliveries. */
  readonly createdAt?: number;
  /** Whether it waits for a release that knows its type. */
  readonly isWaiting?: boolean;
  /** Bytes of the event; of due deliveries. */
  readonly size?: number;
}

/** A message for one consumer. */
export interface NewDelivery {
  readonly consumer: string;
  readonly event: CloudEvent;
}

/**
 * A delivery that waits for a release that knows its type is due at the end of its grace plus this, in ms (3,000 years): so
 * the queries for due retries don't meet it, however many wait.
 */
export const WAITING = 1e14;

/** The due time of a waiting delivery whose grace ends at a time (ms since 1970). */
export const waitingUntil = (graceEndsAt: number) => WAITING + graceEndsAt;

const COLUMNS = 'consumer, id, type, partition_key, event, created_at, attempts, due_at';

/**
 * Adds deliveries without failed attempts, in their order.
 * @param graceMs how long they wait for a release that knows their type; absent when this release knows it
 */
export async function insertDeliveries(sql: Sql, deliveries: readonly NewDelivery[], graceMs?: number): Promise<void> {
  const now = Date.now();
  const rows = deliveries.map(({ consumer, event }) => [
    consumer,
    event.id,
    event.type,
    partitionKeyOf(event),
    JSON.stringify(event),
    now,
  ]);
  await insertDeliveryRows(sql, rows, graceMs === undefined ? undefined : waitingUntil(now + graceMs));
}

/**
 * Adds rows of [consumer, id, type, partition key, event as JSON, created at in ms since 1970], in their order.
 * @param dueAt of deliveries that wait for a release that knows their type
 */
export async function insertDeliveryRows(sql: Sql, rows: readonly SqlValue[][], dueAt?: number): Promise<void> {
  if (rows.length === 0) return;
  // A waiting delivery counts as a retry, so that first attempts don't meet it.
  const [attempts, due] = dueAt === undefined ? [0, []] : [1, [dueAt]];
  if (sql.dialect === 'sqlite') {
    const values = `$1, $2, $3, $4, $5, $6, ${attempts}, ${attempts ? '$7' : '$6'}`;
    const insert = `INSERT INTO mesh_delivery (${COLUMNS}) VALUES (${values})`;
    for (const row of rows) await sql.run(insert, [...row, ...due]);
    return;
  }
  const createdAt = '(it->>5)::double precision';
  await sql.run(
    `INSERT INTO mesh_delivery (${COLUMNS})
     SELECT it->>0, it->>1, it->>2, it->>3, it->>4, ${createdAt}, ${attempts}, ${attempts ? '$2' : createdAt}
     FROM jsonb_array_elements($1::jsonb) WITH ORDINALITY AS them(it, place) ORDER BY place`,
    [JSON.stringify(rows), ...due],
  );
}

/** Which deliveries of a consumer to start. Times are in ms since 1970. */
export interface DueQuery {
  readonly consumer: string;
  readonly attempts: 'first' | 'retry';
  /** First attempts have a larger sequence number: the value of a `SequenceFloor`. */
  readonly after: number;
  readonly limit: number;
  /** Bytes of their events, at most, unless it is a single one. */
  readonly maxBytes: number;
  /** Sequence numbers of the deliveries that are being handled. */
  readonly inFlight: readonly SqlValue[];
  readonly now: number;
  /** A retry that is due later than this was postponed by a clock that ran ahead, and counts as due. */
  readonly maxDueAt: number;
  /** The lease resource of the deliveries, and the shards held of it. */
  readonly resource: string;
  readonly held: HeldShards;
}

/** First attempts in their order, or the retries that are due. @returns `more`: whether there may be more */
export async function dueDeliveries(sql: Sql, query: DueQuery): Promise<{ deliveries: Delivery[]; more: boolean }> {
  const { consumer, after, limit, maxBytes, inFlight, now, maxDueAt, resource, held } = query;
  if (held?.size === 0) return { deliveries: [], more: false };
  const isRetry = query.attempts === 'retry';
  const isDue = isRetry
    ? `attempts > 0 AND due_at < ${WAITING} AND (due_at <= $4 OR due_at > $5) ORDER BY due_at`
    : 'attempts = 0 AND seq > $4 ORDER BY seq';
  const times = isRetry ? [now, maxDueAt] : [after];
  const isHeld = inHeldShards(held, 4 + times.length);
  const found = await sql.all<Omit<Delivery, 'event' | 'size'> & SizedRow & { shard?: number }>(
    `SELECT seq, consumer, partition_key AS key, ${SIZED_EVENT}, attempts, created_at AS "createdAt"
       ${held ? `, ${SHARD} AS shard` : ''} FROM mesh_delivery
     WHERE consumer = $1 AND seq NOT IN ${sequenceList(sql, 2)} ${isHeld} AND ${isDue} LIMIT $3`,
    [consumer, JSON.stringify(inFlight), limit, ...times, ...shardParameters(held)],
  );
  const { rows, isCut } = await withEvents(sql, 'mesh_delivery', found, maxBytes);
  const deliveries = rows.map(({ shard, ...row }) => ({
    ...row,
    event: JSON.parse(row.event) as CloudEvent,
    ...(held && { lease: { resource, shard: shard!, token: held.get(shard!)! } }),
  }));
  return { deliveries, more: isCut || found.length === limit };
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
 * Claims one delivery whose attempt failed, or that was forwarded, in the open unit of work: the row is deleted when the unit
 * commits. Deliveries that are handled are claimed by `recordInInbox()`.
 * @returns false when another process has claimed it or holds its lease now
 */
export async function claimDelivery(sql: Sql, delivery: Delivery): Promise<boolean> {
  if (!delivery.lease) return (await sql.run('DELETE FROM mesh_delivery WHERE seq = $1', [delivery.seq])) > 0;
  const [condition, parameters] = leaseCondition(delivery, 2);
  return (await sql.run(`DELETE FROM mesh_delivery WHERE seq = $1 ${condition}`, [delivery.seq, ...parameters])) > 0;
}

/** Claims several deliveries on SQLite; on PostgreSQL `recordInInbox()` does it in its own statement. @returns the sequence numbers of those that were there */
export async function claimDeliveries(sql: Sql, deliveries: readonly Delivery[]): Promise<Set<SqlValue>> {
  if (deliveries.length === 0) return new Set();
  const rows = await sql.all<{ seq: SqlValue }>(
    `DELETE FROM mesh_delivery WHERE seq IN ${sequenceList(sql)} RETURNING seq`,
    [JSON.stringify(deliveries.map(({ seq }) => seq))],
  );
  return new Set(rows.map(({ seq }) => seq));
}

/**
 * Postpones a delivery whose attempt failed, or whose type is unknown.
 * @param outcome `attempts`: those that failed so far; `dueAt` in ms since 1970, or of `waitingUntil()`
 * @returns false when another process has it now
 */
export async function postponeDelivery(
  sql: Sql,
  delivery: Delivery,
  { attempts, dueAt, error }: { attempts: number; dueAt: number; error: string },
): Promise<boolean> {
  const [condition, parameters] = leaseCondition(delivery, 6);
  const changed = await sql.run(
    `UPDATE mesh_delivery SET attempts = $2, due_at = $3, last_error = $4 WHERE seq = $1 AND attempts = $5 ${condition}`,
    [delivery.seq, attempts, dueAt, error, delivery.attempts, ...parameters],
  );
  return changed > 0;
}

/** The condition that this process still holds the lease of a delivery, with its parameters from the `n`-th on. */
function leaseCondition({ lease }: Delivery, n: number): [string, SqlValue[]] {
  if (!lease) return ['', []];
  const parameters = [lease.resource, tokenParameter([[lease.shard, lease.token]])];
  return [`AND ${SHARD} = ANY(ARRAY${leaseFence(n, n + 1)})`, parameters];
}
