import type { CloudEvent } from '../cloudevents/cloud-event.js';
import { IN_TRANSACTION, type Sql } from '../persistence/sql.js';
import { attemptsWith } from './delivery-attempts.js';
import { claimDeliveries, WAITING, type Delivery } from './delivery-rows.js';
import { insertionFrom, insertJournalRows, journalParameter, type NewJournalEntry } from './journal-rows.js';
import { leaseFence, SHARD, tokenParameter } from './lease-rows.js';

/** An event that a consumer is about to handle, with its delivery unless a broker brought it. */
export interface IncomingMessage {
  readonly consumer: string;
  readonly event: CloudEvent;
  readonly delivery?: Delivery;
}

/** `new`: to be handled. `duplicate`: handled before. `lease-lost`: another process has the delivery now. */
export type InboxOutcome = 'new' | 'duplicate' | 'lease-lost';

/** Whether a consumer has handled an event. */
export async function isInInbox(sql: Sql, consumer: string, { source, id }: CloudEvent): Promise<boolean> {
  const key = [consumer, source, id];
  return (await sql.all(`SELECT 1 FROM mesh_inbox WHERE consumer = $1 AND source = $2 AND id = $3`, key)).length > 0;
}

/**
 * Claims deliveries and records their events in the inbox, in the unit of work that handles them. The inbox key is
 * consumer, source and id.
 * @param messages of one consumer and one lease resource
 * @param hasJournal whether new messages also get a row in the journal
 * @returns an outcome for each
 */
export async function recordInInbox(
  sql: Sql,
  messages: readonly IncomingMessage[],
  hasJournal = false,
): Promise<InboxOutcome[]> {
  if (sql.dialect === 'postgres') return recordInOneStatement(sql, messages, hasJournal);
  const claimed = await claimDeliveries(
    sql,
    messages.flatMap(({ delivery }) => delivery ?? []),
  );
  const outcomes: InboxOutcome[] = [];
  for (const { consumer, event, delivery } of messages) {
    if (delivery && !claimed.has(delivery.seq)) {
      outcomes.push('lease-lost');
      continue;
    }
    const isNew = await sql.run(
      `INSERT INTO mesh_inbox (consumer, source, id, handled_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`,
      [consumer, event.source, event.id, Date.now()],
    );
    if (isNew && hasJournal) await insertJournalRows(sql, [handledEntry({ consumer, event, delivery })]);
    outcomes.push(isNew ? 'new' : 'duplicate');
  }
  return outcomes;
}

function handledEntry({ consumer, event, delivery }: IncomingMessage): NewJournalEntry {
  return { consumer, event, attempts: delivery ? attemptsWith(delivery) : 0, outcome: 'handled' };
}

/** On PostgreSQL one statement for all of it, sent together with the BEGIN. */
async function recordInOneStatement(
  sql: Sql,
  messages: readonly IncomingMessage[],
  hasJournal: boolean,
): Promise<InboxOutcome[]> {
  const leases = messages.flatMap(({ delivery }) => delivery?.lease ?? []);
  const latest = new Map<number, number>();
  for (const { shard, token } of leases) latest.set(shard, Math.max(token, latest.get(shard) ?? 0));
  // Tokens only grow: a delivery found under an older token than its neighbour's lost its lease in between.
  const isLost = ({ delivery }: IncomingMessage) =>
    delivery?.lease && delivery.lease.token < latest.get(delivery.lease.shard)!;
  const incoming = messages.flatMap((message, index) => (isLost(message) ? [] : [{ ...message, index }]));
  // Deliveries that waited for a release may be claimed without a lease.
  const fence = `AND (due_at >= ${WAITING} OR ${SHARD} = ANY(ARRAY${leaseFence(7, 8)}))`;
  const fenced = leases.length > 0 ? fence : '';
  const fences = leases.length > 0 ? [leases[0]!.resource, tokenParameter(latest)] : [];
  // The place of a journal row among them is that of its message, counted from 1.
  const journal = `, journal AS (
       ${insertionFrom(7 + fences.length)} WHERE place - 1 IN (
         SELECT MIN(index) FROM ours JOIN fresh USING (source, id) GROUP BY source, id)
     )`;
  // ARRAY(…) makes PostgreSQL look the rows up by their key, also while its statistics call the table empty.
  const rows = await sql.all<{ index: number; is_new: boolean }>(
    `WITH incoming AS MATERIALIZED (
       SELECT * FROM unnest($2::integer[], $3::text[], $4::text[], $5::bigint[]) AS it(index, source, id, seq)
       WHERE ${IN_TRANSACTION}
     ), claimed AS (
       DELETE FROM mesh_delivery WHERE seq = ANY(ARRAY(SELECT seq FROM incoming)) ${fenced} RETURNING seq
     ), ours AS MATERIALIZED (
       SELECT index, source, id FROM incoming WHERE seq IS NULL OR seq IN (SELECT seq FROM claimed)
     ), fresh AS (
       INSERT INTO mesh_inbox (consumer, source, id, handled_at)
       SELECT $1, source, id, $6 FROM ours ORDER BY source, id ON CONFLICT DO NOTHING RETURNING source, id
     )${hasJournal ? journal : ''}
     SELECT ours.index, fresh.id IS NOT NULL AS is_new FROM ours LEFT JOIN fresh USING (source, id) ORDER BY index`,
    [
      messages[0]!.consumer,
      incoming.map(({ index }) => index),
      incoming.map(({ event }) => event.source),
      incoming.map(({ event }) => event.id),
      incoming.map(({ delivery }) => delivery?.seq ?? null),
      Date.now(),
      ...fences,
      ...(hasJournal ? [journalParameter(messages.map(handledEntry))] : []),
    ],
  );
  const outcomes: InboxOutcome[] = messages.map(() => 'lease-lost');
  const seen = new Set<string>();
  for (const { index, is_new } of rows) {
    // The same event twice in one batch: the first is new, the second a duplicate.
    const { source, id } = messages[index]!.event;
    const key = JSON.stringify([source, id]);
    outcomes[index] = is_new && !seen.has(key) ? 'new' : 'duplicate';
    seen.add(key);
  }
  return outcomes;
}
