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

/** Waiting deliveries by their sequence numbers, as far as they still wait, in their order. */
export async function findWaiting(sql: Sql, seqs: readonly SqlValue[]): Promise<Delivery[]> {
  if (seqs.length === 0) return [];
  const those = sql.dialect === 'postgres' ? `= ANY(ARRAY${sequenceList(sql)})` : `IN ${sequenceList(sql)}`;
  const rows = await sql.all<Omit<Delivery, 'event'> & { event: string }>(
    `SELECT seq, consumer, partition_key AS key, event, attempts FROM mesh_delivery
     WHERE seq ${those} AND due_at >= ${WAITING} ORDER BY due_at, seq`,
    [JSON.stringify(seqs)],
  );
  return rows.map((row) => ({ ...row, event: JSON.parse(row.event) as CloudEvent, isWaiting: true }));
}
