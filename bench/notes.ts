import { Module } from '@nestjs/common';
import { CommandHandler } from '@nestjs/cqrs';
import { Column, Entity, PrimaryColumn } from 'typeorm';
import { z } from 'zod';
import { durableCommand, type DurableCommandHandler } from '../src/infrastructure/messaging/message.js';
import { OnMesh } from '../src/infrastructure/messaging/on-mesh.js';
import type { MigrationHistory } from '../src/infrastructure/persistence/migrate.js';
import { UnitOfWork } from '../src/infrastructure/persistence/unit-of-work.js';

/* The least that an application can be: one command, whose handler writes one row through the ORM. */

export class WriteNote extends durableCommand('bench.notes.write-note', z.object({ text: z.string() })) {}

@Entity('notes_note')
export class Note {
  @PrimaryColumn('text')
  id: string;
  @Column('text')
  text: string;
}

/** When the handler of each note began, on the clock of `performance.now()`. */
export const began = new Map<string, number>();

@CommandHandler(WriteNote)
export class WriteNoteHandler implements DurableCommandHandler<WriteNote> {
  constructor(private readonly work: UnitOfWork) {}

  async execute({ subject: id, data: { text } }: WriteNote): Promise<void> {
    began.set(id, performance.now());
    await this.work.repository(Note).insert({ id, text });
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

@OnMesh({ name: 'notes', contract: { WriteNote }, entities: [Note], migrations })
@Module({ providers: [WriteNoteHandler] })
export class NotesModule {}
