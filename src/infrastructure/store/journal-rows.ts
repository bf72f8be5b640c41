import { extension, type CloudEvent } from '../cloudevents/cloud-event.js';
import { correlationIdOf } from '../cloudevents/mapping.js';
import type { Sql, SqlValue } from '../persistence/sql.js';

/** What became of a message at one consumer: handled by a module, performed by an effect, or failed for good. */
export type JournalOutcome = 'handled' | 'performed' | 'dead';

/** A row to write: a message whose way to one consumer has ended. */
export interface NewJournalEntry {
  readonly consumer: string;
  readonly event: CloudEvent;
  /** Attempts of this process and its replicas, with the last one; 0 where a broker makes them. */
  readonly attempts: number;
  readonly outcome: JournalOutcome;
}

/** A row as stored. Times in ms since 1970. */
export interface JournalRow {
  readonly id: string;
  readonly source: string;
  readonly type: string;
  readonly subject: string | null;
  readonly consumer: string;
  readonly causation_id: string | null;
  readonly correlation_id: string;
  readonly created_at: number;
  readonly handled_at: number;
  readonly attempts: number;
  readonly outcome: JournalOutcome;
}

/** Senders choose the length of names, and an index row of PostgreSQL has a limit. In characters. */
const MAX_NAME = 300;
/** PostgreSQL refuses half of a surrogate pair, which a cut may leave. */
const shortened = (name: string) => name.slice(0, MAX_NAME).replace(/\p{Cs}/gu, '\uFFFD');

const COLUMNS =
  'id, source, type, subject, consumer, causation_id, correlation_id, created_at, handled_at, attempts, outcome';

/** Adds rows, in the transaction that ends the way of their messages. */
export async function insertJournalRows(sql: Sql, entries: readonly NewJournalEntry[]): Promise<void> {
  if (entries.length === 0) return;
  if (sql.dialect === 'postgres') {
    await sql.run(insertionFrom(1), [journalParameter(entries)]);
    return;
  }
  const now = Date.now();
  const insert = `INSERT INTO mesh_journal (${COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`;
  for (const it of entries) await sql.run(insert, valuesOf(it, now));
}

/**
 * For a statement that does more, on PostgreSQL: the INSERT of the rows in the `n`-th parameter, of `journalParameter()`. As
 * json instead of jsonb, a row would be parsed once for each of its columns.
 */
export function insertionFrom(n: number): string {
  const [created, handled] = ['(it->>7)::double precision', '(it->>8)::double precision'];
  return `INSERT INTO mesh_journal (${COLUMNS})
    SELECT it->>0, it->>1, it->>2, it->>3, it->>4, it->>5, it->>6, ${created}, ${handled}, (it->>9)::integer, it->>10
    FROM jsonb_array_elements($${n}::jsonb) WITH ORDINALITY AS them(it, place)`;
}

export function journalParameter(entries: readonly NewJournalEntry[]): string {
  const now = Date.now();
  return JSON.stringify(entries.map((it) => valuesOf(it, now)));
}

function valuesOf({ consumer, event, attempts, outcome }: NewJournalEntry, now: number): SqlValue[] {
  const created = Date.parse(event.time ?? '');
  const causationId = extension(event, 'causationid');
  return [
    shortened(event.id),
    shortened(event.source),
    shortened(event.type),
    typeof event.subject === 'string' ? shortened(event.subject) : null,
    consumer,
    causationId === undefined ? null : shortened(causationId),
    shortened(correlationIdOf(event)),
    Number.isNaN(created) ? now : created,
    now,
    attempts,
    outcome,
  ];
}

/** Which rows; each given field must match exactly. `since` is in ms since 1970. */
export interface JournalFilter {
  readonly correlationId?: string;
  readonly subject?: string;
  readonly type?: string;
  readonly since?: number;
}

/** The rows that match, the latest first. */
export function listJournalRows(
  sql: Sql,
  { correlationId, subject, type, since }: JournalFilter,
  { limit, offset }: { limit: number; offset: number },
): Promise<JournalRow[]> {
  const given: [string, SqlValue | undefined][] = [
    ['correlation_id =', correlationId && shortened(correlationId)],
    ['subject =', subject && shortened(subject)],
    ['type =', type && shortened(type)],
    ['handled_at >=', since],
  ];
  const conditions = given.filter((it): it is [string, SqlValue] => it[1] !== undefined);
  const where = conditions.map(([condition], index) => `${condition} $${index + 1}`).join(' AND ');
  return sql.all(
    `SELECT ${COLUMNS} FROM mesh_journal ${where && `WHERE ${where}`}
     ORDER BY handled_at DESC, seq DESC LIMIT ${limit} OFFSET ${offset}`,
    conditions.map(([, value]) => value),
  );
}
