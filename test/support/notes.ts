import 'reflect-metadata';
import BetterSqlite3 from 'better-sqlite3';
import pg from 'pg';
import { Entity, PrimaryColumn, type MigrationInterface, type QueryRunner } from 'typeorm';
import { Database } from '../../src/infrastructure/persistence/database.js';
import type { MigrationHistory } from '../../src/infrastructure/persistence/migrate.js';
import { UnitOfWork } from '../../src/infrastructure/persistence/unit-of-work.js';

/** A minimal entity. */
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

/** A database with notes, its units of work, and an observer with a connection of its own. */
export interface Notes {
  readonly database: Database;
  readonly work: UnitOfWork;
  /** Adds a note, in the open unit of work. */
  add(id: string): Promise<unknown>;
  /** The ids of all committed notes, read over the connection of the observer. */
  seen(): Promise<string[]>;
  close(): Promise<void>;
}

export async function openNotes(location: string, { poolSize }: { poolSize?: number } = {}): Promise<Notes> {
  const histories = [notesHistory];
  const database = await Database.open({ database: location, entities: [Note], histories, migrate: true, poolSize });
  const work = new UnitOfWork(database);
  const observer = await connect(location);
  return {
    database,
    work,
    add: (id) => work.sql.run('INSERT INTO note (id) VALUES ($1)', [id]),
    seen: async () => (await observer.all<{ id: string }>('SELECT id FROM note ORDER BY id')).map(({ id }) => id),
    close: async () => {
      await database.close();
      await observer.close();
    },
  };
}

/** A plain connection, without the library. */
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
  // A test may end the server.
  client.on('error', () => undefined);
  await client.connect();
  return {
    all: async <Row>(statement: string) => (await client.query(statement)).rows as Row[],
    run: (statement) => client.query(statement),
    close: () => client.end(),
  };
}

/** A promise that the test resolves. */
export function deferred(): { promise: Promise<void>; resolve: () => void } {
  let resolve!: () => void;
  const promise = new Promise<void>((fulfil) => (resolve = fulfil));
  return { promise, resolve };
}

/** The error of a promise, or 'done'. Handles the rejection at once, so that the promise can be awaited later. */
export function outcome(promise: Promise<unknown>): Promise<'done' | Error> {
  return promise.then(
    () => 'done',
    (error: Error) => error,
  );
}

/** Waits for all promises. @returns how many were fulfilled, and the errors of the others */
export async function together(runs: Promise<unknown>[]): Promise<{ done: number; errors: Error[] }> {
  const errors = (await Promise.all(runs.map(outcome))).filter((it) => it !== 'done');
  return { done: runs.length - errors.length, errors };
}

/** `from`, `from` + 1, … (`count` numbers), in parts that a unit of work can send within its second on a busy machine. */
export const batches = (count: number, from = 0, size = 100) =>
  numbers(Math.ceil(count / size)).map((k) =>
    numbers(Math.min(size, count - k * size)).map((n) => from + k * size + n),
  );

export const numbers = (count: number) => Array.from({ length: count }, (_, index) => index);
