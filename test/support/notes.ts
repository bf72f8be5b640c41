import 'reflect-metadata';
import BetterSqlite3 from 'better-sqlite3';
import pg from 'pg';
import { Entity, PrimaryColumn, type MigrationInterface, type QueryRunner } from 'typeorm';
import { Database } from '../../src/infrastructure/persistence/database.js';
import type { MigrationHistory } from '../../src/infrastructure/persistence/migrate.js';
import { UnitOfWork } from '../../src/infrastructure/persistence/unit-of-work.js';

/** The smallest thing that can be written. */
@Entity('note')
export class Note {
  @PrimaryColumn('text')
  id: string;
}

/** The foreign key of a reply is checked when the transaction commits, so a missing note makes the COMMIT fail. */
class Notes1763900000000 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query('CREATE TABLE note (id text PRIMARY KEY)');
    await runner.query(
      'CREATE TABLE reply (id text PRIMARY KEY, note text REFERENCES note (id) DEFERRABLE INITIALLY DEFERRED)',
    );
  }

  async down(): Promise<void> {}
}

export const notesHistory: MigrationHistory = { owner: 'notes', migrations: [Notes1763900000000] };

/** A database with notes, its units of work, and an onlooker over a connection of its own. */
export interface Notes {
  readonly database: Database;
  readonly work: UnitOfWork;
  /** Adds a note, in the open unit of work. */
  add(id: string): Promise<unknown>;
  /** What is committed, as somebody else sees it. */
  seen(): Promise<string[]>;
  close(): Promise<void>;
}

export async function openNotes(location: string, { poolSize }: { poolSize?: number } = {}): Promise<Notes> {
  const histories = [notesHistory];
  const database = await Database.open({ database: location, entities: [Note], histories, migrate: true, poolSize });
  const work = new UnitOfWork(database);
  const onlooker = await connect(location);
  return {
    ...{ database, work },
    add: (id) => work.sql.run('INSERT INTO note (id) VALUES ($1)', [id]),
    seen: async () => (await onlooker.all<{ id: string }>('SELECT id FROM note ORDER BY id')).map(({ id }) => id),
    close: async () => {
      await database.close();
      await onlooker.close();
    },
  };
}

/** A connection that nothing of ours lies over. */
export interface Connection {
  all<Row>(statement: string): Promise<Row[]>;
  run(statement: string): Promise<unknown>;
  close(): Promise<void>;
}

export async function connect(location: string): Promise<Connection> {
  if (location.startsWith('sqlite:')) {
    const db = new BetterSqlite3(location.slice('sqlite:'.length));
    return {
      all: async <Row>(statement: string) => db.prepare(statement).all() as Row[],
      run: async (statement) => db.exec(statement),
      close: async () => void db.close(),
    };
  }
  const client = new pg.Client({ connectionString: location });
  await client.connect();
  return {
    all: async <Row>(statement: string) => (await client.query(statement)).rows as Row[],
    run: (statement) => client.query(statement),
    close: () => client.end(),
  };
}

/** A promise for somebody else to keep. */
export function signal(): { promise: Promise<void>; give: () => void } {
  let give!: () => void;
  const promise = new Promise<void>((resolve) => (give = resolve));
  return { promise, give };
}

/** What a promise came to, without anybody waiting for it yet. */
export function outcome(promise: Promise<unknown>): Promise<'done' | Error> {
  return promise.then(
    () => 'done',
    (error: Error) => error,
  );
}

/** Runs all at once. @returns how many went through, and what the others threw */
export async function together(runs: Promise<unknown>[]): Promise<{ done: number; errors: Error[] }> {
  const errors = (await Promise.all(runs.map(outcome))).filter((it) => it !== 'done');
  return { done: runs.length - errors.length, errors };
}

export const numbers = (count: number) => Array.from({ length: count }, (_, index) => index);
