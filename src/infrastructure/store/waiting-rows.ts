import type { CloudEvent } from '../cloudevents/cloud-event.js';
import type { Sql, SqlValue } from '../persistence/sql.js';
import { WAITING, type Delivery } from './delivery-rows.js';
import { sequenceList } from './row-parameters.js';

/** A delivery that waits for a release that knows its type, without its event. */
export interface WaitingRow {
  readonly seq: SqlValue;
  readonly type: string;
  /** `waitingUntil()` the end of its grace. */
  readonly due_at: number;
}

/**
 * The waiting deliveries of a consumer, those that began to wait first at the front. Leases don't matter: their holder may
 * be a process of a release that doesn't know the type. A claim decides which process handles a delivery.
 * @param after the last one of the page before
 */
export async function listWaiting(
  sql: Sql,
  consumer: string,
  after: WaitingRow | undefined,
  limit: number,
): Promise<WaitingRow[]> {
  return sql.all<WaitingRow>(
    `SELECT seq, type, due_at FROM mesh_delivery
     WHERE consumer = $1 AND attempts > 0 AND due_at >= $2 ${after ? 'AND (due_at > $2 OR seq > $4)' : ''}
     ORDER BY due_at, seq LIMIT $3`,
    [consumer, after?.due_at ?? WAITING, limit, ...(after ? [after.seq] : [])],
  );
}

/**
 * Waiting deliveries by their sequence numbers, as far as they still wait, in their order.
 * @param maxBytes of their events together: those that follow are left out, but for the first one
 */
export async function findWaiting(sql: Sql, seqs: readonly SqlValue[], maxBytes: number): Promise<Delivery[]> {
  const sizes = await waitingRows<{ seq: SqlValue; size: number }>(sql, 'seq, octet_length(event) AS size', seqs);
  let bytes = 0;
  const end = sizes.findIndex(({ size }, index) => (bytes += size) > maxBytes && index > 0);
  const some = end < 0 ? seqs : sizes.slice(0, end).map(({ seq }) => seq);
  const columns = 'seq, consumer, partition_key AS key, event, attempts';
  const rows = await waitingRows<Omit<Delivery, 'event'> & { event: string }>(sql, columns, some);
  return rows.map((row) => ({ ...row, event: JSON.parse(row.event) as CloudEvent, isWaiting: true }));
}

async function waitingRows<Row extends object>(sql: Sql, columns: string, seqs: readonly SqlValue[]): Promise<Row[]> {
  if (seqs.length === 0) return [];
  const those = sql.dialect === 'postgres' ? `= ANY(ARRAY${sequenceList(sql)})` : `IN ${sequenceList(sql)}`;
  return sql.all<Row>(
    `SELECT ${columns} FROM mesh_delivery WHERE seq ${those} AND due_at >= ${WAITING} ORDER BY due_at, seq`,
    [JSON.stringify(seqs)],
  );
}
