import 'reflect-metadata';
import { setTimeout as wait } from 'node:timers/promises';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { CommandBus } from '@nestjs/cqrs';
import BetterSqlite3 from 'better-sqlite3';
import { better, defineQueue, defineWorker } from 'plainjob';
import { v7 as uuidv7 } from 'uuid';
import { MeshModule } from '../src/infrastructure/mesh.module.js';
import { meshMigrations } from '../src/infrastructure/messaging/migrations.js';
import { Receiver } from '../src/infrastructure/messaging/receiver.js';
import { Relay } from '../src/infrastructure/messaging/relay.js';
import { migrateDatabase } from '../src/infrastructure/persistence/database.js';
import { UnitOfWork } from '../src/infrastructure/persistence/unit-of-work.js';
import { began, NotesModule, WriteNote } from './notes.js';

/** Messages that are there when the clock starts. */
export const MESSAGES = 5000;
/** As the relay does it: rows that are fanned out together, and messages that are committed together. */
const [FAN_OUT, GROUP] = [500, 128];
const TEXT = 'A note of some length, as a message might have it.';

@Module({})
class Bench {}

async function openNotes(database: string) {
  const mesh = MeshModule.forRoot({
    ...{ application: 'bench', modules: [NotesModule], database, migrate: true },
    http: 'administration',
  });
  const root = { module: Bench, imports: [mesh, NotesModule] };
  return NestFactory.createApplicationContext(root, { logger: ['error'] });
}

const perSecond = (ms: number) => (1000 * MESSAGES) / ms;

/** Messages a second from the outbox to a row that a handler has written through TypeORM. */
export async function ours(path: string): Promise<number> {
  const app = await openNotes(`sqlite:${path}`);
  const [relay, work] = [app.get(Relay), app.get(UnitOfWork)];
  await relay.stop(0);
  const commands = app.get(CommandBus);
  await Promise.all(Array.from({ length: MESSAGES }, () => commands.execute(new WriteNote(uuidv7(), { text: TEXT }))));
  const started = performance.now();
  await relay.start(app.get(Receiver).consumers);
  const written = () => work.sql.all<{ n: number }>('SELECT COUNT(*) AS n FROM notes_note');
  while ((await written())[0]!.n < MESSAGES) await wait(5);
  const ms = performance.now() - started;
  await app.close();
  return perSecond(ms);
}

/** The statements that ours runs, in batches of its sizes, prepared, on bare better-sqlite3. */
export async function bare(path: string): Promise<number> {
  await migrateDatabase(`sqlite:${path}`, [meshMigrations]);
  const db = new BetterSqlite3(path);
  db.pragma('journal_mode = WAL');
  db.pragma('synchronous = FULL');
  db.exec('CREATE TABLE notes_note (id text PRIMARY KEY, text text NOT NULL)');
  const stage = db.prepare(
    'INSERT INTO mesh_outbox (id, source, type, partition_key, event, created_at) VALUES (?, ?, ?, ?, ?, ?)',
  );
  const event = (id: string) => ({
    ...{ specversion: '1.0', id, source: 'usvc://bench/notes', type: 'bench.notes.write-note', subject: id },
    ...{ time: new Date().toISOString(), datacontenttype: 'application/json', correlationid: id, partitionkey: id },
    ...{ dataschema: 'urn:bench:schema:bench.notes.write-note:1', data: { text: TEXT } },
  });
  db.transaction(() => {
    for (let n = 0; n < MESSAGES; n++) {
      const it = event(uuidv7());
      stage.run(it.id, it.source, it.type, it.id, JSON.stringify(it), Date.now());
    }
  })();
  const oldest = db.prepare(
    `SELECT seq, id, type, partition_key, event FROM mesh_outbox ORDER BY seq LIMIT ${FAN_OUT}`,
  );
  const deliver = db.prepare(
    `INSERT INTO mesh_delivery (consumer, id, type, partition_key, event, created_at, due_at) VALUES ('notes', ?, ?, ?, ?, ?, ?)`,
  );
  const leave = db.prepare('DELETE FROM mesh_outbox WHERE seq IN (SELECT value FROM json_each(?))');
  const due = db.prepare(
    `SELECT seq, event FROM mesh_delivery WHERE consumer = 'notes' AND attempts = 0 ORDER BY seq LIMIT ${GROUP}`,
  );
  const claim = db.prepare('DELETE FROM mesh_delivery WHERE seq = ?');
  const remember = db.prepare(
    `INSERT INTO mesh_inbox (consumer, source, id, handled_at) VALUES ('notes', ?, ?, ?) ON CONFLICT DO NOTHING`,
  );
  const write = db.prepare('INSERT INTO notes_note (id, text) VALUES (?, ?)');
  const started = performance.now();
  type Row = { seq: number; id: string; type: string; partition_key: string; event: string };
  for (let rows = oldest.all() as Row[]; rows.length > 0; rows = oldest.all() as Row[]) {
    db.transaction(() => {
      const now = Date.now();
      for (const it of rows) deliver.run(it.id, it.type, it.partition_key, it.event, now, now);
      leave.run(JSON.stringify(rows.map(({ seq }) => seq)));
    })();
  }
  for (let rows = due.all() as Row[]; rows.length > 0; rows = due.all() as Row[]) {
    db.transaction(() => {
      for (const { seq, event: json } of rows) {
        const it = JSON.parse(json) as ReturnType<typeof event>;
        claim.run(seq);
        remember.run(it.source, it.id, Date.now());
        write.run(it.subject, it.data.text);
      }
    })();
  }
  const ms = performance.now() - started;
  db.close();
  return perSecond(ms);
}

/** The same with plainjob, whose handler writes its row by a prepared statement on the queue's own connection. */
export async function plainjob(path: string): Promise<number> {
  const db = new BetterSqlite3(path);
  const logger = { error: console.error, warn: console.warn, info: () => undefined, debug: () => undefined };
  const queue = defineQueue({ connection: better(db), logger });
  // After plainjob has set its own pragmas: the same durability for both.
  db.pragma('synchronous = FULL');
  db.exec('CREATE TABLE note (id text PRIMARY KEY, text text NOT NULL)');
  const write = db.prepare('INSERT INTO note (id, text) VALUES (?, ?)');
  db.transaction(() => {
    for (let n = 0; n < MESSAGES; n++) queue.add('write-note', { id: uuidv7(), text: TEXT });
  })();
  let done = 0;
  const worker = defineWorker(
    'write-note',
    async (job) => {
      const { id, text } = JSON.parse(job.data) as { id: string; text: string };
      write.run(id, text);
    },
    { queue, logger, onCompleted: () => void done++ },
  );
  const started = performance.now();
  void worker.start();
  while (done < MESSAGES) await wait(5);
  const ms = performance.now() - started;
  await worker.stop();
  queue.close();
  return perSecond(ms);
}

/** From the commit that leaves a message to the start of its handler, in an idle process; in ms, one for each of `howMany`. */
export async function latencies(path: string, howMany: number): Promise<number[]> {
  const app = await openNotes(`sqlite:${path}`);
  const [work, commands] = [app.get(UnitOfWork), app.get(CommandBus)];
  const found: number[] = [];
  for (let n = 0; n < howMany; n++) {
    const id = uuidv7();
    let committed = 0;
    await work.run(async () => {
      await commands.execute(new WriteNote(id, { text: TEXT }));
      work.unit.afterCommit(() => (committed = performance.now()));
    });
    while (!began.has(id)) await wait(1);
    found.push(Math.max(0, began.get(id)! - committed));
    await wait(4);
  }
  await app.close();
  return found;
}
