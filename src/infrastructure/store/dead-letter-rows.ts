import { createHash } from 'node:crypto';
import { v7 as uuidv7 } from 'uuid';
import { isWithinNameLimit } from '../cloudevents/attributes.js';
import type { CloudEvent } from '../cloudevents/cloud-event.js';
import { errorFingerprint, formatError } from '../observability/format-error.js';
import type { Sql } from '../persistence/sql.js';
import { insertDeliveries } from './delivery-rows.js';
import { insertIntoOutbox } from './outbox-rows.js';

/** Stands in place of the consumer when a broker refused the message, or its type is unknown here: no consumer has it yet. */
export const UNPUBLISHED = 'k-sink';

/** Stands in place of the consumer when a broker delivered the message, and no module here has a handler for its type. */
export const UNKNOWN_CONSUMER = 'unknown';

/** A message that no further attempt can help. */
export interface FailedMessage {
  readonly event: CloudEvent;
  readonly attempts: number;
  readonly error: unknown;
}

/** A dead letter as stored, without its event, which may have a megabyte. */
export interface DeadLetterHead {
  readonly id: string;
  readonly consumer: string;
  readonly type: string;
  readonly subject: string | null;
  readonly attempts: number;
  readonly cause: string;
  readonly error: string;
  /** In ms since 1970. */
  readonly dead_at: number;
  /** The address that a broker could not deliver to; null when the message failed in this process. */
  readonly destination: string | null;
}

export interface DeadLetterRow extends DeadLetterHead {
  readonly event: string;
}

/** Puts a message among the dead letters. */
export async function insertDeadLetter(
  sql: Sql,
  message: FailedMessage & { consumer: string; destination?: string },
): Promise<void> {
  const { consumer, event, attempts, error, destination } = message;
  await sql.run(
    `INSERT INTO mesh_dead_letter
       (id, consumer, event_id, type, subject, event, attempts, cause, error, dead_at, destination)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
    [
      uuidv7(),
      consumer,
      eventIdKey(event),
      event.type,
      event.subject ?? null,
      JSON.stringify(event),
      attempts,
      errorFingerprint(error),
      formatError(error),
      Date.now(),
      destination ?? null,
    ],
  );
}

/** Whether the event is among the dead letters of a consumer. */
export async function hasDeadLetter(sql: Sql, event: CloudEvent, consumer: string): Promise<boolean> {
  const rows = await sql.all(`SELECT 1 FROM mesh_dead_letter WHERE event_id = $1 AND consumer = $2 AND type = $3`, [
    eventIdKey(event),
    consumer,
    event.type,
  ]);
  return rows.length > 0;
}

/** The event id as an index can hold it: a digest where it is too long. */
function eventIdKey({ id }: CloudEvent): string {
  return isWithinNameLimit(id) ? id : createHash('sha256').update(id).digest('hex');
}

/** @returns false when there is none */
export async function deleteDeadLetter(sql: Sql, id: string): Promise<boolean> {
  return (await sql.run(`DELETE FROM mesh_dead_letter WHERE id = $1`, [id])) > 0;
}

/** Extensions that brokers add to a dead letter; a requeued message goes out without them. */
const BROKER_EXTENSIONS = ['knativeerrordest', 'knativeerrorcode', 'knativeerrordata', 'knativebrokerttl'];

/**
 * Gives a dead letter back to the consumers that failed, and to no other; the event keeps its id.
 * @param consumers names of modules of this process, or addresses; none puts the message back into the outbox
 * @returns false when the dead letter is no longer there
 */
export async function requeueDeadLetter(sql: Sql, id: string, consumers: readonly string[]): Promise<boolean> {
  const [letter] = await sql.all<{ event: string }>(`DELETE FROM mesh_dead_letter WHERE id = $1 RETURNING event`, [id]);
  if (!letter) return false;
  const attributes = Object.entries(JSON.parse(letter.event) as CloudEvent).filter(
    ([name]) => !BROKER_EXTENSIONS.includes(name),
  );
  const event = Object.fromEntries(attributes) as CloudEvent;
  const deliveries = consumers.map((consumer) => ({ consumer, event }));
  if (deliveries.length > 0) await insertDeliveries(sql, deliveries);
  else await insertIntoOutbox(sql, [event]);
  return true;
}
