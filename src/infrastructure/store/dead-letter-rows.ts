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

const HEAD = 'id, consumer, type, subject, attempts, cause, error, dead_at, destination';

/** Which dead letters; each given field must match exactly. */
export interface DeadLetterFilter {
  readonly consumer?: string;
  readonly type?: string;
  readonly cause?: string;
}

/** Times of death in ms since 1970, both included. */
export interface DeadBetween {
  readonly from: number;
  readonly until: number;
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
): Promise<DeadLetterHead[]> {
  const { where, parameters } = conditions(filter);
  return sql.all(
    `SELECT ${HEAD} FROM mesh_dead_letter ${where} ORDER BY dead_at DESC, id LIMIT ${limit} OFFSET ${offset}`,
    parameters,
  );
}

export async function countDeadLetters(sql: Sql, filter: DeadLetterFilter, between?: DeadBetween): Promise<number> {
  const { where, parameters } = conditions(filter, between);
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
  const [row] = await sql.all<DeadLetterRow>(`SELECT ${HEAD}, event FROM mesh_dead_letter WHERE id = $1`, [id]);
  return row;
}

/**
 * The oldest dead letters that match and died between two times.
 * @param after the last one of the page before
 * @returns each with the bytes of its event as `size`
 */
export async function oldestDeadLetters(
  sql: Sql,
  filter: DeadLetterFilter,
  { from, until }: DeadBetween,
  limit: number,
  after?: Pick<DeadLetterHead, 'dead_at' | 'id'>,
): Promise<(DeadLetterHead & { readonly size: number })[]> {
  const { where, parameters } = conditions(filter, { from: after?.dead_at ?? from, until });
  const isNext = after ? `AND (dead_at > ${after.dead_at} OR id > $${parameters.length + 1})` : '';
  return sql.all(
    `SELECT ${HEAD}, octet_length(event) AS size FROM mesh_dead_letter ${where} ${isNext}
     ORDER BY dead_at, id LIMIT ${limit}`,
    [...parameters, ...(after ? [after.id] : [])],
  );
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

function conditions(filter: DeadLetterFilter, between?: DeadBetween): { where: string; parameters: SqlValue[] } {
  const given = (['consumer', 'type', 'cause'] as const).filter((column) => filter[column] !== undefined);
  const all = given.map((column, index) => `${column} = $${index + 1}`);
  if (between) all.push(`dead_at BETWEEN ${between.from} AND ${between.until}`);
  return {
    where: all.length > 0 ? `WHERE ${all.join(' AND ')}` : '',
    parameters: given.map((column) => filter[column]!),
  };
}
