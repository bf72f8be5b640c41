import type { Pool, PoolClient } from 'pg';
import { isDate } from 'node:util/types';
import { closeConnection } from './timeouts.js';

const GAP = String.raw`(?:\s|--[^\n]*\n|/\*(?:[^*]|\*(?!/))*\*/)`;
const TEMPORARY = String.raw`(?:(?:global|local)${GAP}+)?temp(?:orary)?\b(?![^;]*\bon\s+commit\s+drop)`;
/** Statements whose effect stays with the session after a COMMIT. */
const STATEMENTS = [
  String.raw`set\b(?!${GAP}+(?:local|transaction|constraints)\b)`,
  'reset|discard|deallocate|listen|load',
  `prepare(?!${GAP}+transaction)`,
  String.raw`create${GAP}+(?:or${GAP}+replace${GAP}+)?${TEMPORARY}`,
  String.raw`declare\b[^;]*\bwith\s+hold`,
];
/** Up to the next call in the statement, the last argument is `true`: until the end of the transaction. */
const IS_LOCAL = String.raw`(?:(?!set_config)[^])*?,\s*(?:is_local\s*[:=][=>]\s*)?'?t(?:rue)?'?(?:::bool(?:ean)?)?\s*\)`;
const FUNCTIONS = new RegExp(String.raw`set_config\s*\((?!${IS_LOCAL})|pg_(?:try_)?advisory_lock`, 'i');
const CHANGE = String.raw`${GAP}*(?:${STATEMENTS.join('|')})\b`;
const FIRST = new RegExp(`^${CHANGE}`, 'i');
/** Behind a semicolon that isn't in a comment. */
const LATER = new RegExp(String.raw`(?<!--[^\n]*);${CHANGE}`, 'i');

/**
 * Whether a statement, or one of several in a string, changes its session beyond the transaction: settings, prepared
 * statements, temporary tables, locks. What a function does isn't seen. A false alarm costs a connection. Each statement is
 * tested, so each of these tests has to be quick for one that it doesn't find.
 */
export function changesSession(text: string): boolean {
  return FIRST.test(text) || FUNCTIONS.test(text) || (text.includes(';') && LATER.test(text));
}

/**
 * Whether `pg` can send values without calling code of theirs, which may throw. An error there leaves `pg` with the name of a
 * statement that the server has closed, so that each later use of the name fails.
 */
export function areBindable(values: readonly unknown[]): boolean {
  return values.every((it) => isPlain(it) || (Array.isArray(it) && it.every(isPlain)));
}

function isPlain(value: unknown): boolean {
  switch (typeof value) {
    case 'string':
    case 'number':
    case 'bigint':
    case 'boolean':
    case 'undefined':
      return true;
    case 'object':
      return value === null || Buffer.isBuffer(value) || (isDate(value) && !Number.isNaN(value.getTime()));
    default:
      return false;
  }
}

/** Sessions with changes of their own, which no other unit of work may get. */
const changed = new WeakSet<object>();

/** Notes what a statement does to the session. @returns the parameters of `query()` to use instead */
export function inspected(session: object, parameters: unknown[]): unknown[] {
  const [query, ...rest] = parameters;
  const { text, name, values, submit } = (typeof query === 'string' ? { text: query } : Object(query)) as {
    readonly [part: string]: unknown;
  };
  if (typeof text === 'string' && changesSession(text)) changed.add(session);
  if (name === undefined || submit) return parameters;
  const given = Array.isArray(rest[0]) ? rest[0] : values;
  return Array.isArray(given) && !areBindable(given)
    ? [{ ...(query as object), name: undefined }, ...rest]
    : parameters;
}

/** Closes connections whose session was changed, instead of giving them back to the pool. */
export function closeChanged(pool: Pool): void {
  pool.on('release', (_, client: PoolClient) => {
    if (changed.has(client)) void closeConnection(client);
  });
}
