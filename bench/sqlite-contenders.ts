import { BetterSqlite3 } from '../tools/better-sqlite3.js';
import { better, defineQueue, defineWorker } from 'plainjob';
import { v7 as uuidv7 } from 'uuid';
import type { CloudEvent } from '../src/infrastructure/cloudevents/cloud-event.js';
import { InboxReceiver } from '../src/infrastructure/delivery/inbox-receiver.js';
import { Relay } from '../src/infrastructure/outbox/relay.js';
import type { RetentionPolicy } from '../src/infrastructure/store/expired-rows.js';
import { fillMesh, TEXT } from './backlog.js';
import { WriteNotePrepared, openNotes, settled, WriteNote } from './notes.js';
import { alternatingWarm, median, perSecond, ratioRow, type Findings, type TestBed } from './rounds.js';

/** Messages that are pending at the start of a measurement. */
const MESSAGES = 5000;
/** Batch sizes of the application: messages per fan-out, per lookup and commit, and per savepoint. */
const [FAN_OUT, GROUP, SAVEPOINT] = [500, 128, 64];

/** Messages settled per second on SQLite, against plainjob and the bare statements. */
export async function sqliteContenders({ rounds, newDatabasePath }: TestBed): Promise<Findings> {
  const values = await alternatingWarm(
    rounds,
    () => settleByMesh(`sqlite:${newDatabasePath()}`, MESSAGES, WriteNote),
    () => settleByMesh(`sqlite:${newDatabasePath()}`, MESSAGES, WriteNotePrepared),
    () => settleByPlainjob(newDatabasePath()),
    () => settleByStatements(newDatabasePath()),
  );
  const [orm, prepared, queue, statements] = values.map(median) as [number, number, number, number];
  const what = `messages settled, SQLite, synchronous=FULL (${MESSAGES.toLocaleString('en')} pending)`;
  const bareOne = `the same statements by bare better-sqlite3: ${perSecond(statements)}`;
  const [measured, measuredPrepared] = [perSecond(orm), perSecond(prepared)];
  return {
    rows: [
      ratioRow({ what, measured, against: `plainjob 0.0.14: ${perSecond(queue)}` }, orm / queue, { atLeast: 5 }),
      ratioRow({ what, measured, against: bareOne }, orm / statements, { atLeast: 0.3 }),
      ratioRow(
        { what: `${what}, the handler's statement prepared`, measured: measuredPrepared, against: bareOne },
        prepared / statements,
        { atLeast: 0.5 },
      ),
    ],
    notes: `**SQLite.** The mesh writes the row of a message by TypeORM, or by \`work.sql.run(…)\` in the row "prepared", in a unit of
work with an inbox record. plainjob's handler writes the row by a prepared statement on the queue's own connection, and keeps no
inbox. "The same statements" are those of a trace of the mesh, in the same order and batches: ${GROUP} deliveries are looked up and share one
\`BEGIN IMMEDIATE\` … \`COMMIT\`; ${SAVEPOINT} of them share a savepoint, and are claimed by one \`DELETE … RETURNING\`, inserted into the inbox and
written one by one; and ${FAN_OUT} messages become deliveries in a savepoint of the commit that handled the last ones. These statements are
prepared, on one connection (the mesh reads over another one), in one process without a framework. All use \`journal_mode=WAL\` and \`synchronous=FULL\`.`,
  };
}

/** @param database an empty database. @returns messages per second, from the outbox to a committed row */
export async function settleByMesh(
  database: string,
  howMany: number,
  command: typeof WriteNote | typeof WriteNotePrepared,
  retention: Partial<RetentionPolicy> = {},
) {
  const app = await openNotes(database, { retention });
  const relay = app.get(Relay);
  await relay.stop(0);
  await fillMesh(database, { howMany, command });
  const last = settled.next(howMany);
  const started = performance.now();
  await relay.start(app.get(InboxReceiver).consumers);
  const ms = (await last) - started;
  await app.close();
  return (1000 * howMany) / ms;
}

interface OutboxRow {
  readonly seq: number;
  readonly id: string;
  readonly type: string;
  readonly partition_key: string;
  readonly event: string;
}

/**
 * Runs the statements of the mesh in the same order and batches, prepared, on one connection of better-sqlite3, without
 * the statements that the mesh runs once a second or less often. @returns messages per second
 */
async function settleByStatements(path: string): Promise<number> {
  const app = await openNotes(`sqlite:${path}`);
  await app.close();
  await fillMesh(`sqlite:${path}`, { howMany: MESSAGES });
  const db = new BetterSqlite3(path);
  db.pragma('journal_mode = WAL');
  db.pragma('synchronous = FULL');
  db.pragma('temp_store = MEMORY');
  const begin = db.prepare('BEGIN IMMEDIATE');
  const savepoint = db.prepare('SAVEPOINT unit');
  const release = db.prepare('RELEASE unit');
  const commit = db.prepare('COMMIT');
  const isLeft = db.prepare('SELECT 1 FROM mesh_outbox WHERE true LIMIT 1');
  const oldest = db.prepare('SELECT seq, id, type, partition_key, event FROM mesh_outbox ORDER BY seq LIMIT ?');
  const deliver = db.prepare(
    `INSERT INTO mesh_delivery (consumer, id, type, partition_key, event, created_at, due_at) VALUES (?, ?, ?, ?, ?, ?, ?)`,
  );
  const leave = db.prepare('DELETE FROM mesh_outbox WHERE seq IN (SELECT value FROM json_each(?))');
  const due = db.prepare(
    `SELECT seq, consumer, partition_key AS key, event, attempts FROM mesh_delivery
     WHERE consumer = ? AND seq NOT IN (SELECT value FROM json_each(?)) AND attempts = 0 ORDER BY seq LIMIT ?`,
  );
  const claim = db.prepare('DELETE FROM mesh_delivery WHERE seq IN (SELECT value FROM json_each(?)) RETURNING seq');
  const remember = db.prepare(
    `INSERT INTO mesh_inbox (consumer, source, id, handled_at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING`,
  );
  const write = db.prepare('INSERT INTO notes_note (id, text) VALUES (?, ?)');
  const fanOut = () => {
    savepoint.run();
    const rows = oldest.all(FAN_OUT) as OutboxRow[];
    const now = Date.now();
    for (const it of rows) deliver.run('notes', it.id, it.type, it.partition_key, it.event, now, now);
    leave.run(JSON.stringify(rows.map(({ seq }) => seq)));
    release.run();
  };
  const handle = (deliveries: readonly { seq: number; event: CloudEvent }[]) => {
    savepoint.run();
    const taken = claim.all(JSON.stringify(deliveries.map(({ seq }) => seq))) as { seq: number }[];
    if (taken.length < deliveries.length) throw new Error('A delivery was claimed by another connection');
    for (const { event } of deliveries) remember.run('notes', event.source, event.id, Date.now());
    for (const { event } of deliveries) write.run(event.subject, (event.data as { text: string }).text);
    release.run();
  };
  let settled = 0;
  const started = performance.now();
  while (settled < MESSAGES) {
    const rows = due.all('notes', '[]', GROUP) as { seq: number; event: string }[];
    const deliveries = rows.map(({ seq, event }) => ({ seq, event: JSON.parse(event) as CloudEvent }));
    begin.run();
    for (let n = 0; n < deliveries.length; n += SAVEPOINT) handle(deliveries.slice(n, n + SAVEPOINT));
    // In the commit that handles the last deliveries.
    if (rows.length < GROUP && isLeft.get()) fanOut();
    commit.run();
    settled += rows.length;
  }
  const ms = performance.now() - started;
  db.close();
  return (1000 * MESSAGES) / ms;
}

/** @returns messages per second with plainjob */
async function settleByPlainjob(path: string): Promise<number> {
  const db = new BetterSqlite3(path);
  const logger = { error: console.error, warn: console.warn, info: () => undefined, debug: () => undefined };
  const queue = defineQueue({ connection: better(db), logger });
  // After plainjob has set its pragmas, so that both have the same durability.
  db.pragma('synchronous = FULL');
  db.exec('CREATE TABLE note (id text PRIMARY KEY, text text NOT NULL)');
  const write = db.prepare('INSERT INTO note (id, text) VALUES (?, ?)');
  db.transaction(() => {
    for (let n = 0; n < MESSAGES; n++) queue.add('write-note', { id: uuidv7(), text: TEXT });
  })();
  let done = 0;
  let finish: (at: number) => void;
  const last = new Promise<number>((resolve) => (finish = resolve));
  const worker = defineWorker(
    'write-note',
    async (job) => {
      const { id, text } = JSON.parse(job.data) as { id: string; text: string };
      write.run(id, text);
    },
    {
      queue,
      logger,
      onCompleted: () => {
        if (++done === MESSAGES) finish(performance.now());
      },
    },
  );
  const started = performance.now();
  void worker.start();
  const ms = (await last) - started;
  await worker.stop();
  queue.close();
  return (1000 * MESSAGES) / ms;
}
