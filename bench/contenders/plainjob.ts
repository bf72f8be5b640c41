import type { Database } from 'better-sqlite3';
import { better, defineQueue, defineWorker } from 'plainjob';
import { DataSource } from 'typeorm';
import { v7 as uuidv7 } from 'uuid';
import { BetterSqlite3 } from '../../tools/better-sqlite3.js';
import { TEXT } from '../backlog.js';
import { Note } from '../notes.js';
import { pathOf, rate, type Contenders } from './contender.js';
import { NOTES, type Row } from './writers.js';

const TYPE = 'write-note';
/** Jobs in a transaction: as many as the mesh has in one. */
const GROUP = 128;

export const contenders: Contenders = {
  orm: (database, howMany) => settle(database, howMany, { isOrm: true, way: byWorker }),
  prepared: (database, howMany) => settle(database, howMany, { isOrm: false, way: byWorker }),
  'orm-exactly-once': (database, howMany) => settle(database, howMany, { isOrm: true, way: inTransactions }),
  'prepared-exactly-once': (database, howMany) => settle(database, howMany, { isOrm: false, way: inTransactions }),
};

const logger = { error: console.error, warn: console.warn, info: () => undefined, debug: () => undefined };

interface Settling {
  readonly db: Database;
  readonly queue: ReturnType<typeof defineQueue>;
  readonly howMany: number;
  /** Writes the row of a job on the connection of the queue. */
  readonly write: (row: Row) => unknown;
}

interface Variant {
  readonly isOrm: boolean;
  readonly way: (settling: Settling) => Promise<void>;
}

async function settle(database: string, howMany: number, { isOrm, way }: Variant): Promise<number> {
  const path = pathOf(database);
  const dataSource = await new DataSource({
    type: 'better-sqlite3',
    database: path,
    driver: BetterSqlite3,
    entities: [Note],
  }).initialize();
  const { databaseConnection: db } = dataSource.driver as unknown as { databaseConnection: Database };
  const queue = defineQueue({ connection: better(db), logger });
  // After plainjob has set its pragmas, so that all contenders have the same durability.
  db.pragma('synchronous = FULL');
  db.exec(NOTES);
  db.exec('CREATE TABLE notes_inbox (id integer PRIMARY KEY, handled_at integer NOT NULL)');
  const insert = db.prepare('INSERT INTO notes_note (id, text) VALUES (?, ?)');
  const notes = dataSource.getRepository(Note);
  const write = isOrm ? (row: Row) => notes.insert(row) : ({ id, text }: Row) => insert.run(id, text);
  db.transaction(() => {
    for (let n = 0; n < howMany; n++) queue.add(TYPE, { id: uuidv7(), text: TEXT });
  })();
  db.pragma('wal_checkpoint(TRUNCATE)');
  const perSecond = await rate(howMany, () => way({ db, queue, howMany, write }));
  queue.close();
  return perSecond;
}

/** As it is used by default: claim, row and completion are three transactions, and a retry writes the row again. */
async function byWorker({ queue, howMany, write }: Settling): Promise<void> {
  let done = 0;
  let finish: () => void;
  const last = new Promise<void>((resolve) => (finish = resolve));
  const onCompleted = () => {
    if (++done === howMany) finish();
  };
  const handle = async ({ data }: { data: string }) => void (await write(JSON.parse(data) as Row));
  const worker = defineWorker(TYPE, handle, { queue, logger, onCompleted });
  void worker.start();
  await last;
  await worker.stop();
}

/** By the methods of the queue that its worker calls, with an inbox, for many jobs in one transaction of its connection. */
async function inTransactions({ db, queue, write }: Settling): Promise<void> {
  const begin = db.prepare('BEGIN IMMEDIATE');
  const commit = db.prepare('COMMIT');
  const remember = db.prepare('INSERT INTO notes_inbox (id, handled_at) VALUES (?, ?) ON CONFLICT DO NOTHING');
  for (let isLeft = true; isLeft;) {
    begin.run();
    for (let n = 0; n < GROUP && isLeft; n++) {
      const marked = queue.getAndMarkJobAsProcessing(TYPE);
      isLeft = marked !== undefined;
      if (!marked) break;
      const { id, data } = queue.getJobById(marked.id)!;
      if (remember.run(id, Date.now()).changes > 0) await write(JSON.parse(data) as Row);
      queue.markJobAsDone(id);
    }
    commit.run();
  }
}
