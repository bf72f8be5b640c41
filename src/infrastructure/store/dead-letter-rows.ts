import { createHash } from 'node:crypto';
import { v7 as uuidv7 } from 'uuid';
import { isWithinNameLimit } from '../cloudevents/attributes.js';
import type { CloudEvent } from '../cloudevents/cloud-event.js';
import { errorFingerprint, formatError } from '../observability/format-error.js';
import type { Sql, SqlValue } from '../persistence/sql.js';
import { insertDeliveries } from './delivery-rows.js';
import { insertIntoOutbox } from './outbox-rows.js';

/** Stands in place of the consumer when a broker refused the message, or its type is unknown here: no consumer has it yet. */
export const UNPUBLISHED = 'k-sink';

/** A message that no further attempt can help. */
export interface FailedMessage {
  readonly event: CloudEvent;
  readonly attempts: number;
  readonly error: unknown;
}

/** A dead letter, as stored. */
export interface DeadLetterRow {
  readonly id: string;
  readonly consumer: string;
  readonly event: string;
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

const COLUMNS = 'id, consumer, event, type, subject, attempts, cause, error, dead_at, destination';

/** Which dead letters; each given field must match exactly. */
export interface DeadLetterFilter {
  readonly consumer?: string;
  readonly type?: string;
  readonly cause?: string;
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

/** The dead letters that match, the latest first. */
export async function listDeadLetters(
  sql: Sql,
  filter: DeadLetterFilter,
  { limit, offset }: { limit: number; offset: number },
): Promise<DeadLetterRow[]> {
  const { where, parameters } = conditions(filter);
  return sql.all(
    `SELECT ${COLUMNS} FROM mesh_dead_letter ${where} ORDER BY dead_at DESC, id LIMIT ${limit} OFFSET ${offset}`,
    parameters,
  );
}

export async function countDeadLetters(sql: Sql, filter: DeadLetterFilter): Promise<number> {
  const { where, parameters } = conditions(filter);
  const [row] = await sql.all<{ n: number | string }>(
    `SELECT COUNT(*) AS n FROM mesh_dead_letter ${where}`,
    parameters,
  );
  return Number(row!.n);
}

/** Dead letters with the same consumer, type and cause. Times are in ms since 1970. */
export interface DeadLetterGroup {
  readonly consumer: string;
  readonly type: string;
  readonly cause: string;
  readonly n: number | string;
  readonly first: number | string;
  readonly last: number | string;
}

/** The 100 largest groups, the largest first. */
export async function groupDeadLetters(sql: Sql, filter: DeadLetterFilter): Promise<DeadLetterGroup[]> {
  const { where, parameters } = conditions(filter);
  return sql.all(
    `SELECT consumer, type, cause, COUNT(*) AS n, MIN(dead_at) AS first, MAX(dead_at) AS last FROM mesh_dead_letter
     ${where} GROUP BY consumer, type, cause ORDER BY n DESC LIMIT 100`,
    parameters,
  );
}

export async function findDeadLetter(sql: Sql, id: string): Promise<DeadLetterRow | undefined> {
  const [row] = await sql.all<DeadLetterRow>(`SELECT ${COLUMNS} FROM mesh_dead_letter WHERE id = $1`, [id]);
  return row;
}

/** The oldest dead letters that match and died between two times (ms since 1970, both included). */
export async function oldestDeadLetters(
  sql: Sql,
  filter: DeadLetterFilter,
  between: { from: number; until: number },
  limit: number,
): Promise<DeadLetterRow[]> {
  const { where, parameters } = conditions(filter);
  const inTime = `dead_at BETWEEN ${between.from} AND ${between.until}`;
  return sql.all(
    `SELECT ${COLUMNS} FROM mesh_dead_letter ${where ? `${where} AND` : 'WHERE'} ${inTime}
     ORDER BY dead_at, id LIMIT ${limit}`,
    parameters,
  );
}

/** @returns false when there is none */
export async function deleteDeadLetter(sql: Sql, id: string): Promise<boolean> {
  return (await sql.run(`DELETE FROM mesh_dead_letter WHERE id = $1`, [id])) > 0;
}

/** Extensions that brokers add to a dead letter; a requeued message goes out without them. */
const BROKER_EXTENSIONS = ['knativeerrordest', 'knativeerrorcode', 'knativeerrordata', 'knativebrokerttl'];

/**
 * Gives a dead letter back to the consumer that failed, and to no other; the event keeps its id.
 * @param address of the consumer, where this process doesn't host it
 * @returns the consumer that has a new delivery, if any
 */
export async function requeueDeadLetter(
  sql: Sql,
  letter: DeadLetterRow,
  address?: string,
): Promise<string | undefined> {
  if (!(await deleteDeadLetter(sql, letter.id))) return undefined;
  const dead = JSON.parse(letter.event) as CloudEvent;
  const attributes = Object.entries(dead).filter(([name]) => !BROKER_EXTENSIONS.includes(name));
  const event = Object.fromEntries(attributes) as CloudEvent;
  if (letter.consumer === UNPUBLISHED) {
    await insertIntoOutbox(sql, [event]);
    return undefined;
  }
  const consumer = address ?? letter.consumer;
  await insertDeliveries(sql, [{ consumer, event }]);
  return consumer;
}

function conditions(filter: DeadLetterFilter): { where: string; parameters: SqlValue[] } {
  const given = (['consumer', 'type', 'cause'] as const).filter((column) => filter[column] !== undefined);
  return {
    where: given.length > 0 ? `WHERE ${given.map((column, index) => `${column} = $${index + 1}`).join(' AND ')}` : '',
    parameters: given.map((column) => filter[column]!),
  };
}
