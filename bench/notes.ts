import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { CommandHandler } from '@nestjs/cqrs';
import { Column, Entity, PrimaryColumn } from 'typeorm';
import { z } from 'zod';
import type { BrokerOptions } from '../src/infrastructure/mesh-options.js';
import { MeshModule } from '../src/infrastructure/mesh.module.js';
import { durableCommand, type DurableCommandHandler } from '../src/infrastructure/contracts/message.js';
import { MeshFeature } from '../src/infrastructure/contracts/mesh-feature.js';
import type { MigrationHistory } from '../src/infrastructure/persistence/migrate.js';
import { UnitOfWork } from '../src/infrastructure/persistence/unit-of-work.js';

/* The least that an application can be: one command, whose handler writes one row. */

const schema = z.object({ text: z.string() });

/** Its row is written through the ORM. */
export class WriteNote extends durableCommand('bench.notes.write-note', schema) {}
/** Its row is written by a prepared statement, below the ORM. */
export class WriteNotePrepared extends durableCommand('bench.notes.jot-note', schema) {}

@Entity('notes_note')
export class Note {
  @PrimaryColumn('text')
  id: string;
  @Column('text')
  text: string;
}

/** When the handler of each note began, on the clock of `performance.now()`; only while somebody wants to know. */
export const handlerStarts: { byNote?: Map<string, number> } = {};

/** Counts notes once they are committed. Times are on the clock of `performance.now()`. */
class Settled {
  count = 0;
  private readonly marks = new Map<number, (at: number) => void>();

  add(): void {
    this.marks.get(++this.count)?.(performance.now());
  }

  /** From now on. @returns when the last of so many was committed */
  next(howMany: number): Promise<number> {
    this.count = 0;
    this.marks.clear();
    return this.reached(howMany);
  }

  /** Counted as the last `next()` does. */
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

const migrations: MigrationHistory['migrations'] = [
  {
    name: 'NotesTables1764000000000',
    up: async (runner) => {
      await runner.query('CREATE TABLE notes_note (id text PRIMARY KEY, text text NOT NULL)');
    },
    down: async (runner) => {
      await runner.query('DROP TABLE notes_note');
    },
  },
];

@MeshFeature({ name: 'notes', contract: { WriteNote, WriteNotePrepared }, entities: [Note], migrations })
@Module({ providers: [WriteNoteHandler, WriteNotePreparedHandler] })
export class NotesModule {}

@Module({})
class Bench {}

/**
 * Starts the application. It listens nowhere.
 * @param database `sqlite:<path>` or `postgres://…`; it is migrated
 */
export async function openNotes(database: string, broker?: BrokerOptions) {
  const mesh = MeshModule.forRoot({
    application: 'bench',
    modules: [NotesModule],
    database,
    migrate: true,
    http: 'administration',
    ...(broker && { broker }),
  });
  const root = { module: Bench, imports: [mesh, NotesModule] };
  const app = await NestFactory.create(root, { logger: ['error'] });
  return app.init();
}
