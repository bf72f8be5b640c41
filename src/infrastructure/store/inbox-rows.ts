import type { Sql } from '../persistence/sql.js';
import { leaseFence, SHARD, tokenParameter } from '../leases/leases.js';
import type { CloudEvent } from '../cloudevents/cloud-event.js';
import { claimDeliveries, type Delivery } from './delivery-rows.js';

/** An event that a consumer is about to handle, and the delivery that brought it, if one of ours did. */
export interface IncomingMessage {
  readonly consumer: string;
  readonly event: CloudEvent;
  readonly delivery?: Delivery;
}

/** `new` may be handled; a `duplicate` was before; `taken` is another process's business, or over. */
export type InboxOutcome = 'new' | 'duplicate' | 'lease-lost';

/**
 * Takes deliveries off and remembers their events, in the unit of work that handles them: an event is recognised by its
 * source and id. All of it is one statement where a statement is a round trip.
 * @param arrivals of one consumer, and of one part of the work
 * @returns a word for each
 */
export async function recordInInbox(sql: Sql, arrivals: readonly IncomingMessage[]): Promise<InboxOutcome[]> {
  if (sql.dialect === 'postgres') return recordInOneStatement(sql, arrivals);
  const taken = await claimDeliveries(
    sql,
    arrivals.flatMap(({ delivery }) => delivery ?? []),
  );
  const words: InboxOutcome[] = [];
  for (const { consumer, event, delivery } of arrivals) {
    if (delivery && !taken.has(delivery.seq)) {
      words.push('lease-lost');
      continue;
    }
    const isNew = await sql.run(
      `INSERT INTO mesh_inbox (consumer, source, id, handled_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`,
      [consumer, event.source, event.id, Date.now()],
    );
    words.push(isNew ? 'new' : 'duplicate');
  }
  return words;
}

async function recordInOneStatement(sql: Sql, arrivals: readonly IncomingMessage[]): Promise<InboxOutcome[]> {
  const leases = arrivals.flatMap(({ delivery }) => delivery?.lease ?? []);
  const latest = new Map<number, number>();
  for (const { shard, token } of leases) latest.set(shard, Math.max(token, latest.get(shard) ?? 0));
  // Tokens only grow: what was found under an older one than its neighbour's was lost in between.
  const isLost = ({ delivery }: IncomingMessage) =>
    delivery?.lease && delivery.lease.token < latest.get(delivery.lease.shard)!;
  const places = arrivals.flatMap((arrival, place) => {
    const { event, delivery } = arrival;
    if (isLost(arrival)) return [];
    return { place, source: event.source, id: event.id, ...(delivery && { seq: String(delivery.seq) }) };
  });
  const fenced = leases.length > 0 ? `AND ${SHARD} = ANY(ARRAY${leaseFence(4, 5)})` : '';
  // An array, as whatever PostgreSQL believes of a table that was empty a moment ago, it looks its elements up by the key.
  const rows = await sql.all<{ place: number; is_new: boolean }>(
    `WITH arrival AS MATERIALIZED (
       SELECT place, source, id, seq FROM json_to_recordset($2::json) AS it(place integer, source text, id text, seq bigint)
     ), taken AS (
       DELETE FROM mesh_delivery WHERE seq = ANY(ARRAY(SELECT seq FROM arrival)) ${fenced} RETURNING seq
     ), ours AS MATERIALIZED (
       SELECT place, source, id FROM arrival WHERE seq IS NULL OR seq IN (SELECT seq FROM taken)
     ), fresh AS (
       INSERT INTO mesh_inbox (consumer, source, id, handled_at)
       SELECT $1, source, id, $3 FROM ours ORDER BY source, id ON CONFLICT DO NOTHING RETURNING source, id
     )
     SELECT ours.place, fresh.id IS NOT NULL AS is_new FROM ours LEFT JOIN fresh USING (source, id) ORDER BY place`,
    [
      arrivals[0]!.consumer,
      JSON.stringify(places),
      Date.now(),
      ...(leases.length > 0 ? [leases[0]!.resource, tokenParameter(latest)] : []),
    ],
  );
  const words: InboxOutcome[] = arrivals.map(() => 'lease-lost');
  const seen = new Set<string>();
  for (const { place, is_new } of rows) {
    // The same event twice among them: the first one is new.
    const { source, id } = arrivals[place]!.event;
    const name = JSON.stringify([source, id]);
    words[place] = is_new && !seen.has(name) ? 'new' : 'duplicate';
    seen.add(name);
  }
  return words;
}
