import { createHash } from 'node:crypto';
import { v7 as uuidv7 } from 'uuid';
import type { Sql } from '../persistence/sql.js';
import type { CloudEvent } from '../cloudevents/cloud-event.js';
import { isShort } from '../cloudevents/attributes.js';
import type { FailedMessage } from '../delivery/delivery-worker.js';
import { insertDeliveries } from './delivery-rows.js';
import { errorFingerprint, formatError } from '../observability/format-error.js';
import { insertIntoOutbox } from '../outbox/outbox.js';

/* The statements of the dead letters: how a message gets among them, and back. */

/** Stands in the place of the consumer where a broker refused the message: nobody has it yet. */
export const UNPUBLISHED = 'k-sink';

/** What a dead letter is found by among the others: an index has to hold it, however long the id. */
export function eventIdKey({ id }: CloudEvent): string {
  return isShort(id) ? id : createHash('sha256').update(id).digest('hex');
}

/** Puts a message among the dead letters. */
export async function insertDeadLetter(
  sql: Sql,
  letter: FailedMessage & { consumer: string; destination?: string },
): Promise<void> {
  const { consumer, event, attempts, error, destination } = letter;
  await sql.run(
    `INSERT INTO mesh_dead_letter
       (id, consumer, event_id, type, subject, event, attempts, cause, error, dead_at, destination)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
    [
      ...[uuidv7(), consumer, eventIdKey(event), event.type, event.subject ?? null, JSON.stringify(event)],
      ...[attempts, errorFingerprint(error), formatError(error), Date.now(), destination ?? null],
    ],
  );
}

/** A message that was given up, as stored. */
export interface DeadLetterRow {
  readonly id: string;
  readonly consumer: string;
  readonly event: string;
  readonly type: string;
  readonly subject: string | null;
  readonly attempts: number;
  readonly cause: string;
  readonly error: string;
  readonly dead_at: number;
  /** The address that a broker could not deliver it to; null when it died here. */
  readonly destination: string | null;
}

/** What brokers add to a dead letter; a replay is the message as it was. */
const BROKER_EXTENSIONS = ['knativeerrordest', 'knativeerrorcode', 'knativeerrordata', 'knativebrokerttl'];

/**
 * Gives a dead letter to the consumer that failed, and to nobody else; the event keeps its id.
 * @param address of the consumer, where that is not a module of this process
 * @returns the consumer that has a delivery now, if any
 */
export async function requeueDeadLetter(
  sql: Sql,
  letter: DeadLetterRow,
  address?: string,
): Promise<string | undefined> {
  if ((await sql.run(`DELETE FROM mesh_dead_letter WHERE id = $1`, [letter.id])) === 0) return undefined;
  const dead = JSON.parse(letter.event) as CloudEvent;
  const event = Object.fromEntries(
    Object.entries(dead).filter(([name]) => !BROKER_EXTENSIONS.includes(name)),
  ) as CloudEvent & object;
  if (letter.consumer === UNPUBLISHED) {
    await insertIntoOutbox(sql, [event]);
    return undefined;
  }
  const consumer = address ?? letter.consumer;
  await insertDeliveries(sql, [{ consumer, event }]);
  return consumer;
}
