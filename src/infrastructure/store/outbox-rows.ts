import type { CloudEvent } from '../cloudevents/cloud-event.js';
import type { Sql, SqlValue } from '../persistence/sql.js';
import { SIZED_EVENT, withEvents, type SizedRow } from './large-events.js';
import { insertDeliveryRows } from './delivery-rows.js';
import {
  inHeldShards,
  leaseFence,
  OUTBOX_RESOURCE,
  SHARD,
  shardParameters,
  tokenParameter,
  type HeldShards,
} from './lease-rows.js';
import { excluding, type OutboxExclusions, type OutboxRoutes } from './outbox-routes.js';
import { partitionKeyOf, sequenceList } from './row-parameters.js';

/** A message in the outbox; `event` is its CloudEvent as JSON. */
export interface OutboxRow {
  readonly seq: SqlValue;
  readonly id: string;
  readonly type: string;
  readonly partition_key: string;
  readonly event: string;
  /** In ms since 1970. */
  readonly created_at: number;
}

export const OUTBOX_COLUMNS = ['id', 'source', 'type', 'partition_key', 'event', 'created_at'];
const SELECTED = `seq, id, type, partition_key, ${SIZED_EVENT}, created_at`;
/** Bytes of the events that one query brings, at most, unless it is a single one. */
const MAX_BYTES = 8 * 1024 * 1024;
const INSERT = `INSERT INTO mesh_outbox (${OUTBOX_COLUMNS.join(', ')}) VALUES ($1, $2, $3, $4, $5, $6)`;

/** The values of `OUTBOX_COLUMNS` for an event. */
export function outboxValues(event: CloudEvent): SqlValue[] {
  return [event.id, event.source, event.type, partitionKeyOf(event), JSON.stringify(event), Date.now()];
}

/** Writes events into the outbox, in their order. */
export async function insertIntoOutbox(sql: Sql, events: readonly CloudEvent[]): Promise<void> {
  if (sql.dialect === 'sqlite') {
    for (const event of events) await sql.run(INSERT, outboxValues(event));
    return;
  }
  // One round trip for all of them.
  await sql.run(
    `INSERT INTO mesh_outbox (${OUTBOX_COLUMNS.join(', ')})
     SELECT it->>0, it->>1, it->>2, it->>3, it->>4, (it->>5)::double precision
     FROM jsonb_array_elements($1::jsonb) WITH ORDINALITY AS them(it, place) ORDER BY place`,
    [JSON.stringify(events.map(outboxValues))],
  );
}

/**
 * Whether the outbox holds a message of the held shards. Takes no lock and writes nothing.
 * @param after the value of a `SequenceFloor`
 */
export async function hasOutboxRows(sql: Sql, held: HeldShards, after: number): Promise<boolean> {
  if (held?.size === 0) return false;
  const rows = await sql.all(`SELECT 1 FROM mesh_outbox WHERE seq > $1 ${inHeldShards(held, 2)} ORDER BY seq LIMIT 1`, [
    after,
    ...shardParameters(held),
  ]);
  return rows.length > 0;
}

/** What a query of the outbox reads. */
export interface OutboxQuery {
  /** Sequence numbers of the messages that the caller has already. */
  readonly loaded: readonly SqlValue[];
  readonly excluded: OutboxExclusions;
  readonly routes: OutboxRoutes;
  /** The query reads messages with a larger sequence number. */
  readonly after: SqlValue;
  readonly limit: number;
  readonly held: HeldShards;
}

type FoundRow = Omit<OutboxRow, 'event'> & SizedRow & { readonly shard?: number };

/** The oldest messages of the outbox in the held shards. @returns `more`: whether there may be more than it brings */
export async function listOutbox(
  sql: Sql,
  { loaded, excluded, routes, after, limit, held }: OutboxQuery,
): Promise<{ rows: (OutboxRow & { shard?: number })[]; more: boolean }> {
  if (held?.size === 0) return { rows: [], more: false };
  const shards = shardParameters(held);
  const { cte, join, conditions, parameters } = excluding(sql, excluded, routes, sequenceList(sql), 4 + shards.length);
  const found = await sql.all<FoundRow>(
    `${cte} SELECT ${SELECTED}${held ? `, ${SHARD} AS shard` : ''} FROM mesh_outbox ${join}
     WHERE seq > $2 AND seq NOT IN ${sequenceList(sql)} ${inHeldShards(held, 4)} ${conditions}
     ORDER BY seq LIMIT $3`,
    [JSON.stringify(loaded), after, limit, ...shards, ...parameters],
  );
  const { rows, isCut } = await withEvents(sql, 'mesh_outbox', found, MAX_BYTES);
  return { rows, more: isCut || found.length === limit };
}

/** The event of a message as JSON; undefined when the message has left the outbox. */
export async function findOutboxEvent(sql: Sql, seq: SqlValue): Promise<string | undefined> {
  const [row] = await sql.all<Pick<OutboxRow, 'event'>>('SELECT event FROM mesh_outbox WHERE seq = $1', [seq]);
  return row?.event;
}

/** Removes messages that have left. @returns how many were still there */
export async function removeFromOutbox(sql: Sql, seqs: readonly SqlValue[]): Promise<number> {
  const those = sql.dialect === 'postgres' ? `= ANY(ARRAY${sequenceList(sql)})` : `IN ${sequenceList(sql)}`;
  return sql.run(`DELETE FROM mesh_outbox WHERE seq ${those}`, [JSON.stringify(seqs)]);
}

/** The consumers of a type. Undefined means that the type is unknown here; an empty list means a known event without listeners. */
export type ConsumerLookup = (type: string) => readonly string[] | undefined;

/** What `moveToDeliveries()` did. */
export interface Moved {
  /** The consumers that got deliveries. */
  readonly consumers: Set<string>;
  /** Whether the outbox may hold more. */
  readonly more: boolean;
  /** When the oldest message was written, in ms since 1970. */
  readonly oldest?: number;
  /** The sequence number of the last one. */
  readonly last?: SqlValue;
  /** Events of unknown types: removed from the outbox; the caller keeps them. */
  readonly unknown: CloudEvent[];
}

/**
 * Turns the oldest messages of the outbox into one delivery per consumer, in their order, in the open unit of work.
 * @param after the value of a `SequenceFloor`
 * @throws Error when another transaction has moved some of them
 */
export async function moveToDeliveries(
  sql: Sql,
  consumersOf: ConsumerLookup,
  limit: number,
  held: HeldShards,
  after: number,
): Promise<Moved> {
  const consumers = new Set<string>();
  const unknown: CloudEvent[] = [];
  if (held?.size === 0) return { consumers, more: false, unknown };
  const found = await oldest(sql, limit, held, after);
  const { rows, isCut } = await withEvents(sql, 'mesh_outbox', found, MAX_BYTES);
  if (rows.length === 0) return { consumers, more: false, unknown };
  const now = Date.now();
  const deliveries: SqlValue[][] = [];
  for (const { id, type, partition_key, event } of rows) {
    const found = consumersOf(type);
    if (!found) unknown.push(JSON.parse(event) as CloudEvent);
    for (const consumer of found ?? []) {
      consumers.add(consumer);
      deliveries.push([consumer, id, type, partition_key, event, now]);
    }
  }
  await insertDeliveryRows(sql, deliveries);
  const seqs = rows.map(({ seq }) => seq);
  // A COMMIT of ours that timed out may be carried out after all, while this one does the same again.
  if ((await removeFromOutbox(sql, seqs)) < seqs.length) throw new Error('Another transaction moved some messages');
  const more = isCut || rows.length === limit;
  return { consumers, more, oldest: rows[0]!.created_at, last: rows.at(-1)!.seq, unknown };
}

/** The oldest rows whose shards this process holds. Two processes with one shard would interleave the messages of a key. */
function oldest(sql: Sql, limit: number, held: HeldShards, after: number): Promise<FoundRow[]> {
  const isHeld = held ? `AND ${SHARD} = ANY(ARRAY${leaseFence(3, 4)})` : '';
  return sql.all<FoundRow>(`SELECT ${SELECTED} FROM mesh_outbox WHERE seq > $2 ${isHeld} ORDER BY seq LIMIT $1`, [
    limit,
    after,
    ...(held ? [OUTBOX_RESOURCE, tokenParameter(held)] : []),
  ]);
}
