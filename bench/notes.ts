import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { CommandHandler } from '@nestjs/cqrs';
import { Column, Entity, PrimaryColumn, type MigrationInterface, type QueryRunner } from 'typeorm';
import { z } from 'zod';
import type { MeshOptions } from '../src/infrastructure/mesh-options.js';
import { MeshModule } from '../src/infrastructure/mesh.module.js';
import type { DurableCommandBatchHandler } from '../src/infrastructure/contracts/batch-handler.js';
import { durableCommand, type DurableCommandHandler } from '../src/infrastructure/contracts/message.js';
import { MeshFeature } from '../src/infrastructure/contracts/mesh-feature.js';
import { UnitOfWork } from '../src/infrastructure/persistence/unit-of-work.js';

/* The smallest possible application: commands whose handlers write one row. */

const schema = z.object({ text: z.string() });

/** Its handler writes the row by TypeORM. */
export class WriteNote extends durableCommand('bench.notes.write-note', schema) {}
/** Its handler writes the row by a prepared statement, without TypeORM. */
export class WriteNotePrepared extends durableCommand('bench.notes.jot-note', schema) {}
/** Its handler writes the rows of several notes by one statement. */
export class WriteNoteBatched extends durableCommand('bench.notes.file-note', schema) {}

export type NoteCommand = typeof WriteNote | typeof WriteNotePrepared | typeof WriteNoteBatched;

@Entity('notes_note')
export class Note {
  @PrimaryColumn('text')
  id: string;
  @Column('text')
  text: string;
}

/** The start of each note's handler, by `performance.now()`. Recorded while `byNote` is set. */
export const handlerStarts: { byNote?: Map<string, number> } = {};

/** Counts committed notes. Times are those of `performance.now()`. */
class Settled {
  count = 0;
  private readonly marks = new Map<number, (at: number) => void>();

  add(notes = 1): void {
    for (let n = 0; n < notes; n++) this.marks.get(++this.count)?.(performance.now());
  }

  /** Restarts the count. @returns the time of the commit of the last of these notes */
  next(howMany: number): Promise<number> {
    this.count = 0;
    this.marks.clear();
    return this.reached(howMany);
  }

  /** Doesn't restart the count. @returns the time of the commit of this note since the last `next()` */
  reached(howMany: number): Promise<number> {
    return new Promise((resolve) => this.marks.set(howMany, resolve));
  }
}

export const settled = new Settled();

@CommandHandler(WriteNote)
export class WriteNoteHandler implements DurableCommandHandler<WriteNote> {
  constructor(private readonly work: UnitOfWork) {}

  async execute({ subject: id, data: { text } }: WriteNote): Promise<void> {
    handlerStarts.byNote?.set(id, performance.now());
    this.work.unit.afterCommit(() => settled.add());
    await this.work.repository(Note).insert({ id, text });
  }
}

@CommandHandler(WriteNotePrepared)
export class WriteNotePreparedHandler implements DurableCommandHandler<WriteNotePrepared> {
  constructor(private readonly work: UnitOfWork) {}

  async execute({ subject, data: { text } }: WriteNotePrepared): Promise<void> {
    this.work.unit.afterCommit(() => settled.add());
    await this.work.sql.run('INSERT INTO notes_note (id, text) VALUES ($1, $2)', [subject, text]);
  }
}

@CommandHandler(WriteNoteBatched)
export class WriteNoteBatchedHandler implements DurableCommandBatchHandler<WriteNoteBatched> {
  constructor(private readonly work: UnitOfWork) {}

  async executeMany(notes: readonly WriteNoteBatched[]): Promise<void> {
    const { sql, unit } = this.work;
    unit.afterCommit(() => settled.add(notes.length));
    const [ids, texts] = [notes.map(({ subject }) => subject), notes.map(({ data }) => data.text)];
    if (sql.dialect === 'postgres')
      await sql.run('INSERT INTO notes_note (id, text) SELECT * FROM unnest($1::text[], $2::text[])', [ids, texts]);
    else
      await sql.run('INSERT INTO notes_note (id, text) SELECT value->>0, value->>1 FROM json_each($1)', [
        JSON.stringify(ids.map((id, index) => [id, texts[index]])),
      ]);
  }
}

class NotesTables1764000000000 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query('CREATE TABLE notes_note (id text PRIMARY KEY, text text NOT NULL)');
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP TABLE notes_note');
  }
}

@MeshFeature({ name: 'notes', contract: { WriteNote, WriteNotePrepared, WriteNoteBatched }, entities: [Note] })
@Module({ providers: [WriteNoteHandler, WriteNotePreparedHandler, WriteNoteBatchedHandler] })
export class NotesModule {}

@Module({})
class Bench {}

/**
 * Starts the application without an HTTP server.
 * @param database `sqlite:<path>` or `postgres://…`; will be migrated
 */
export async function openNotes(database: string, options: Pick<MeshOptions, 'broker' | 'retention'> = {}) {
  const mesh = MeshModule.forRoot({
    application: 'bench',
    modules: [NotesModule],
    database,
    migrations: [{ owner: 'notes', migrations: [NotesTables1764000000000] }],
    migrate: true,
    http: 'administration',
    ...options,
  });
  const root = { module: Bench, imports: [mesh, NotesModule] };
  const app = await NestFactory.create(root, { logger: ['error'] });
  return app.init();
}
