import type { Sql, SqlValue } from '../persistence/sql.js';
import type { DeadLetterHead, DeadLetterRow } from './dead-letter-rows.js';

/* Reading dead letters. Senders choose the length of types and subjects, so only their beginnings are read. */

/** The columns of a head. @param length of the type, in characters */
const head = (length: number) =>
  `id, consumer, substr(type, 1, ${length}) AS type, substr(subject, 1, 200) AS subject, attempts, cause, error, dead_at, destination`;
/** What people read. */
const LISTED = head(200);
/** Enough to find the handlers of a type. */
const FOUND = head(1000);

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

/** The dead letters that match, the latest first. */
export async function listDeadLetters(
  sql: Sql,
  filter: DeadLetterFilter,
  { limit, offset }: { limit: number; offset: number },
): Promise<DeadLetterHead[]> {
  const { where, parameters } = conditions(filter);
  return sql.all(
    `SELECT ${LISTED} FROM mesh_dead_letter ${where} ORDER BY dead_at DESC, id LIMIT ${limit} OFFSET ${offset}`,
    parameters,
  );
}

/** Counts the dead letters that match. @param max where counting stops */
export async function countDeadLetters(
  sql: Sql,
  filter: DeadLetterFilter,
  { between, max }: { between?: DeadBetween; max?: number },
): Promise<number> {
  const { where, parameters } = conditions(filter, between);
  const limit = max === undefined ? '' : `LIMIT ${max}`;
  const [row] = await sql.all<{ n: number | string }>(
    `SELECT COUNT(*) AS n FROM (SELECT 1 FROM mesh_dead_letter ${where} ${limit}) AS matching`,
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

/** The 100 largest groups of the latest `max` dead letters that match, the largest first. */
export async function groupDeadLetters(sql: Sql, filter: DeadLetterFilter, max: number): Promise<DeadLetterGroup[]> {
  const { where, parameters } = conditions(filter);
  return sql.all(
    `SELECT consumer, type, cause, COUNT(*) AS n, MIN(dead_at) AS first, MAX(dead_at) AS last
     FROM (SELECT consumer, substr(type, 1, 200) AS type, cause, dead_at FROM mesh_dead_letter ${where}
           ORDER BY dead_at DESC LIMIT ${max}) AS latest
     GROUP BY consumer, type, cause ORDER BY n DESC LIMIT 100`,
    parameters,
  );
}

export async function findDeadLetter(sql: Sql, id: string): Promise<DeadLetterRow | undefined> {
  const [row] = await sql.all<DeadLetterRow>(`SELECT ${FOUND}, event FROM mesh_dead_letter WHERE id = $1`, [id]);
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
    `SELECT ${FOUND}, octet_length(event) AS size FROM mesh_dead_letter ${where} ${isNext}
     ORDER BY dead_at, id LIMIT ${limit}`,
    [...parameters, ...(after ? [after.id] : [])],
  );
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
