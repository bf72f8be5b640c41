import { BetterSqlite3 } from '../tools/better-sqlite3.js';
import pg from 'pg';
import { toCloudEvent } from '../src/infrastructure/cloudevents/mapping.js';
import { WriteNote, type NoteCommand } from './notes.js';

/** The text of each note. */
export const TEXT = 'A note of some length, as a message might have it.';

/** The table with the pending messages: the outbox, or the deliveries. */
export type BacklogTable = 'mesh_outbox' | 'mesh_delivery';

interface Backlog {
  readonly howMany: number;
  /** Default: the outbox. */
  readonly table?: BacklogTable;
  readonly command?: NoteCommand;
}

/**
 * The statement that inserts messages into a database of the notes, in the form in which the application stores them,
 * each with its own partition key.
 * @param first the number of the first message, as SQL
 */
export function insertStatement(database: string, { howMany, ...options }: Backlog, first: string): string {
  const { table = 'mesh_outbox', command = WriteNote } = options;
  const { id: _, ...event } = toCloudEvent(new command('{id}', { text: TEXT }), command, 'bench', 'notes');
  const template = JSON.stringify({ ...event, id: '{id}', correlationid: '{id}' });
  const now = Date.now();
  const [columns, values] =
    table === 'mesh_outbox'
      ? ['source, created_at', `'${event.source}', ${now}`]
      : ['consumer, created_at, due_at', `'notes', ${now}, ${now}`];
  const ids = database.startsWith('sqlite:')
    ? `WITH RECURSIVE n (i) AS (SELECT ${first} UNION ALL SELECT i + 1 FROM n LIMIT ${howMany})
       SELECT printf('00000000-0000-7000-8000-%012x', i) AS id FROM n`
    : `SELECT '00000000-0000-7000-8000-' || lpad(to_hex(${first} + i), 12, '0') AS id FROM generate_series(0, ${howMany - 1}) AS i`;
  return `INSERT INTO ${table} (id, type, partition_key, event, ${columns})
    SELECT id, '${event.type}', id, replace('${template}', '{id}', id), ${values} FROM (${ids}) AS ids`;
}

/** Inserts messages into a migrated database in one transaction. */
export async function fillMesh(database: string, { first = 0, ...backlog }: Backlog & { first?: number }) {
  const insert = insertStatement(database, backlog, String(first));
  if (!database.startsWith('sqlite:')) return onPostgres(database, [insert, ...MAINTENANCE]);
  const db = new BetterSqlite3(database.slice('sqlite:'.length), { timeout: 60_000 });
  db.pragma('journal_mode = WAL');
  db.pragma('wal_autocheckpoint = 0');
  db.exec(insert);
  // Checkpoint now, so that no measurement includes it.
  db.pragma('wal_checkpoint(TRUNCATE)');
  db.close();
}

/** Otherwise PostgreSQL does this by itself later, perhaps during a measurement. */
export const MAINTENANCE = ['ANALYZE', 'CHECKPOINT'];

/** Runs statements one after another on a new connection. */
export async function onPostgres(database: string, statements: readonly string[]): Promise<void> {
  const client = new pg.Client({ connectionString: database });
  await client.connect();
  try {
    for (const statement of statements) await client.query(statement);
  } finally {
    await client.end();
  }
}
