import pg, { type ClientBase } from 'pg';
import { DataSource } from 'typeorm';
import { onPostgres } from '../backlog.js';
import { Note } from '../notes.js';

/** A row of a handler, and the payload of its job. */
export interface Row {
  readonly id: string;
  readonly text: string;
}

export type Write = (rows: readonly Row[]) => Promise<unknown>;

/** How the handlers of the other libraries write the rows of their jobs on PostgreSQL. */
export interface Writer {
  /** Writes on the connections of a pool, at the same time. */
  readonly write: Write;
  /** Runs `work` in a transaction. Its `write` writes one row after the other in it, on its client. */
  inTransaction<T>(work: (client: ClientBase, write: Write) => Promise<T>): Promise<T>;
  end(): Promise<unknown>;
}

/** Each handler writes its row by TypeORM, by a prepared statement, or one statement writes the rows of a batch. */
export type WriterName = 'orm' | 'prepared' | 'unnest';

const INSERT = { name: 'note', text: 'INSERT INTO notes_note (id, text) VALUES ($1, $2)' };
const INSERT_ALL = {
  name: 'notes',
  text: 'INSERT INTO notes_note (id, text) SELECT * FROM unnest($1::text[], $2::text[])',
};

/** Inserts one row. */
export const insertion = ({ id, text }: Row) => ({ ...INSERT, values: [id, text] });
/** Inserts all rows. */
export const insertionOfAll = (rows: readonly Row[]) => ({
  ...INSERT_ALL,
  values: [rows.map(({ id }) => id), rows.map(({ text }) => text)],
});

/** @param connections of the pool */
export async function openWriter(name: WriterName, url: string, connections: number): Promise<Writer> {
  if (name === 'orm') return byOrm(url, connections);
  const pool = new pg.Pool({ connectionString: url, max: connections });
  const inTurn = (client: ClientBase) => async (rows: readonly Row[]) => {
    for (const row of rows) await client.query(insertion(row));
  };
  const atOnce = (client: ClientBase | pg.Pool) => (rows: readonly Row[]) => client.query(insertionOfAll(rows));
  return {
    write: name === 'unnest' ? atOnce(pool) : (rows) => Promise.all(rows.map((row) => pool.query(insertion(row)))),
    inTransaction: async (work) => {
      const client = await pool.connect();
      await client.query('BEGIN');
      const result = await work(client, name === 'unnest' ? atOnce(client) : inTurn(client));
      await client.query('COMMIT');
      client.release();
      return result;
    },
    end: () => pool.end(),
  };
}

async function byOrm(url: string, poolSize: number): Promise<Writer> {
  const dataSource = await new DataSource({ type: 'postgres', url, poolSize, entities: [Note] }).initialize();
  const notes = dataSource.getRepository(Note);
  return {
    write: (rows) => Promise.all(rows.map((row) => notes.insert(row))),
    inTransaction: async (work) => {
      const runner = dataSource.createQueryRunner();
      const client = (await runner.connect()) as ClientBase;
      await runner.startTransaction();
      const repository = runner.manager.getRepository(Note);
      const result = await work(client, async (rows) => {
        for (const row of rows) await repository.insert(row);
      });
      await runner.commitTransaction();
      await runner.release();
      return result;
    },
    end: () => dataSource.destroy(),
  };
}

/** The table of the handlers. */
export const NOTES = 'CREATE TABLE notes_note (id text PRIMARY KEY, text text NOT NULL)';

/** Creates the tables of the handlers, and of the jobs that they have handled. */
export async function createTables(database: string): Promise<void> {
  await onPostgres(database, [NOTES, 'CREATE TABLE notes_inbox (id text PRIMARY KEY, handled_at bigint NOT NULL)']);
}

const REMEMBER = {
  name: 'remember',
  text: `INSERT INTO notes_inbox (id, handled_at) SELECT id, $2 FROM unnest($1::text[]) AS ids (id)
    ON CONFLICT DO NOTHING RETURNING id`,
};

/** Records jobs as handled. @returns the ids of those that weren't handled before */
export async function recordJobs(client: ClientBase, ids: readonly string[]): Promise<ReadonlySet<string>> {
  const { rows } = await client.query<{ id: string }>({ ...REMEMBER, values: [ids, Date.now()] });
  return new Set(rows.map(({ id }) => id));
}

/** Waits until a query of one number answers 0, asked every 5 ms. */
export async function untilNone(database: string, query: string): Promise<void> {
  const client = new pg.Client({ connectionString: database });
  await client.connect();
  while (Object.values((await client.query<Record<string, unknown>>(query)).rows[0]!)[0] !== 0)
    await new Promise((resolve) => setTimeout(resolve, 5));
  await client.end();
}
