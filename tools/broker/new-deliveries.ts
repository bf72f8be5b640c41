import type { CloudEvent } from '../../src/infrastructure/cloudevents/cloud-event.js';
import type { Sql } from '../../src/infrastructure/persistence/sql.js';
import type { Delivery } from '../../src/infrastructure/store/delivery-rows.js';

/** Deliveries that one query reads. */
const BATCH = 1000;

/**
 * The deliveries after a sequence number, the oldest first. The application can't read its deliveries like this, because its
 * transactions may commit in another order. The broker is the only process on its SQLite file.
 */
export async function newDeliveries(sql: Sql, lastSeq: Delivery['seq']): Promise<Delivery[]> {
  const rows = await sql.all<Omit<Delivery, 'event'> & { event: string }>(
    `SELECT seq, consumer, partition_key AS key, event, attempts FROM mesh_delivery WHERE seq > $1 ORDER BY seq LIMIT ${BATCH}`,
    [lastSeq],
  );
  return rows.map((row) => ({ ...row, event: JSON.parse(row.event) as CloudEvent }));
}
