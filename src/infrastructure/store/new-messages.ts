import type { CloudEvent } from '../cloudevents/cloud-event.js';
import type { Sql, SqlValue } from '../persistence/sql.js';
import { insertDeliveryRows } from './delivery-rows.js';
import { insertIntoOutbox, OUTBOX_COLUMNS } from './outbox-rows.js';
import { partitionKeyOf } from './row-parameters.js';

/*
 * Where the consumers of a message are in this process, its deliveries are written at once: it isn't written to the outbox, read,
 * and removed first. Messages that wait in the outbox go first, because there may be some of the same partition key: from
 * another release, another transport, or a transaction of TypeORM. What a transaction has committed is seen by every
 * statement that begins later, so nothing overtakes a message that may have caused it.
 */

/** The consumers of a type in this process; undefined where the dispatcher of the outbox has to find them. */
export type DirectConsumers = (type: string) => readonly string[] | undefined;

/** A message, or its delivery to one of its consumers. */
interface Address {
  /** Null for a message of the outbox. */
  readonly consumer: string | null;
  readonly event: CloudEvent;
  readonly json: string;
  /** Whether it is the first of its message. */
  readonly isFirst: boolean;
}

/**
 * Stores messages in the open transaction, in their order: as deliveries to their consumers, or in the outbox. A type that
 * is known to have no consumers leaves nothing.
 * @param after messages wait in the outbox when one of them has a larger sequence number: the value of a `SequenceFloor`
 * @returns whether some are in the outbox now
 */
export async function storeMessages(
  sql: Sql,
  events: readonly CloudEvent[],
  consumersOf: DirectConsumers,
  after: number,
): Promise<boolean> {
  const addresses = events.flatMap((event) => addressesOf(event, consumersOf(event.type)));
  if (addresses.length === 0) return false;
  if (addresses.every(({ consumer }) => consumer === null)) {
    await insertIntoOutbox(sql, events);
    return true;
  }
  return sql.dialect === 'postgres' ? inOneStatement(sql, addresses, after) : oneByOne(sql, addresses);
}

function addressesOf(event: CloudEvent, consumers: readonly string[] | undefined): Address[] {
  const json = JSON.stringify(event);
  if (!consumers) return [{ consumer: null, event, json, isFirst: true }];
  return consumers.map((consumer, index) => ({ consumer, event, json, isFirst: index === 0 }));
}

async function oneByOne(sql: Sql, addresses: readonly Address[]): Promise<boolean> {
  const areWaiting = (await sql.all('SELECT 1 FROM mesh_outbox LIMIT 1')).length > 0;
  const toOutbox = addresses.filter(({ consumer, isFirst }) => isFirst && (areWaiting || consumer === null));
  await insertIntoOutbox(
    sql,
    toOutbox.map(({ event }) => event),
  );
  if (areWaiting) return true;
  const now = Date.now();
  const rows = addresses.flatMap(({ consumer, event, json }): SqlValue[][] =>
    consumer === null ? [] : [[consumer, event.id, event.type, partitionKeyOf(event), json, now]],
  );
  await insertDeliveryRows(sql, rows);
  return toOutbox.length > 0;
}

/** One round trip, and one snapshot for the question whether messages wait and for both insertions. */
async function inOneStatement(sql: Sql, addresses: readonly Address[], after: number): Promise<boolean> {
  const column = (value: (address: Address) => SqlValue) => addresses.map(value);
  const areWaiting = 'EXISTS (SELECT 1 FROM mesh_outbox WHERE seq > $8)';
  const rows = await sql.all(
    `WITH incoming AS MATERIALIZED (
       SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::boolean[])
       WITH ORDINALITY AS them(consumer, id, source, type, partition_key, event, is_first, place)
     ), kept AS (
       INSERT INTO mesh_outbox (${OUTBOX_COLUMNS.join(', ')})
       SELECT id, source, type, partition_key, event, $9::double precision FROM incoming
       WHERE is_first AND (consumer IS NULL OR ${areWaiting}) ORDER BY place RETURNING 1
     ), delivered AS (
       INSERT INTO mesh_delivery (consumer, id, type, partition_key, event, created_at, attempts, due_at)
       SELECT consumer, id, type, partition_key, event, $9::double precision, 0, $9::double precision FROM incoming
       WHERE consumer IS NOT NULL AND NOT ${areWaiting} ORDER BY place
     )
     SELECT 1 FROM kept LIMIT 1`,
    [
      column(({ consumer }) => consumer),
      column(({ event }) => event.id),
      column(({ event }) => event.source),
      column(({ event }) => event.type),
      column(({ event }) => partitionKeyOf(event)),
      column(({ json }) => json),
      column(({ isFirst }) => String(isFirst)),
      after,
      Date.now(),
    ],
  );
  return rows.length > 0;
}
