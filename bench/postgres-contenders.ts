import { Logger, run, runMigrations } from 'graphile-worker';
import pg from 'pg';
import PgBoss from 'pg-boss';
import { DataSource } from 'typeorm';
import { MAINTENANCE, onPostgres, TEXT } from './backlog.js';
import { WriteNotePrepared, Note, WriteNote } from './notes.js';
import { alternatingWarm, median, NO_POSTGRES, perSecond, ratioRow, type Findings, type TestBed } from './rounds.js';
import { settleByMesh } from './sqlite-contenders.js';

/** Messages that are pending at the start of a measurement. */
const MESSAGES = 5000;
/** The settings of graphile-worker's page on performance. */
const GRAPHILE = { concurrency: 24, maxPoolSize: 25 };
/** 2, 4 and 8 workers with 100 to 500 jobs per batch were about equally fast. Each batch triggers the next one, see below. */
const PG_BOSS = { workers: 4, batchSize: 100 };

const NOTES = 'CREATE TABLE notes_note (id text PRIMARY KEY, text text NOT NULL)';

/** Messages settled per second on PostgreSQL, against graphile-worker and pg-boss. */
export async function postgresContenders({ rounds, newPostgresDatabase }: TestBed): Promise<Findings> {
  const what = `messages settled, PostgreSQL, one replica (${MESSAGES.toLocaleString('en')} pending)`;
  if (!newPostgresDatabase) {
    return { rows: [{ what, measured: NO_POSTGRES, against: '', aim: 'at least 3' }], notes: '' };
  }
  const values = await alternatingWarm(
    rounds,
    async () => settleByMesh(await newPostgresDatabase(), MESSAGES, WriteNote),
    async () => settleByMesh(await newPostgresDatabase(), MESSAGES, WriteNotePrepared),
    async () => graphileWorker(await newPostgresDatabase(), byOrm),
    async () => pgBoss(await newPostgresDatabase(), byOrm),
    async () => graphileWorker(await newPostgresDatabase(), prepared),
    async () => pgBoss(await newPostgresDatabase(), prepared),
    async () => pgBoss(await newPostgresDatabase(), atOnce),
  );
  const medians: number[] = values.map(median);
  const [orm, jotted, graphileOrm, bossOrm, graphile, boss, batches] = medians;
  const row = (title: string, mesh: number, against: string, value: number) => {
    const line = { what: title, measured: perSecond(mesh), against: `${against}: ${perSecond(value)}` };
    return ratioRow(line, mesh / value, { atLeast: 3 });
  };
  const whatJotted = `${what}, the handler's statement prepared`;
  return {
    rows: [
      row(what, orm!, 'graphile-worker 0.16.6, by the same ORM', graphileOrm!),
      row(what, orm!, 'pg-boss 10.4.2, by the same ORM', bossOrm!),
      row(whatJotted, jotted!, 'graphile-worker 0.16.6, by a prepared statement', graphile!),
      row(whatJotted, jotted!, 'pg-boss 10.4.2, by a prepared statement for each row', boss!),
      row(whatJotted, jotted!, 'pg-boss 10.4.2, by one statement for the rows of a batch', batches!),
    ],
    notes: `**PostgreSQL.** The same server for all, at its default durability (\`fsync\` and \`synchronous_commit\` on), a fresh
database for each round, \`ANALYZE\` and \`CHECKPOINT\` before each measurement. The mesh has a pool of 10 connections. graphile-worker:
concurrency ${GRAPHILE.concurrency}, pool ${GRAPHILE.maxPoolSize}, as on its page on performance (0.16 is the last version for Node 20; it fetches and completes
jobs one by one). pg-boss: ${PG_BOSS.workers} workers that fetch ${PG_BOSS.batchSize} jobs at a time, and are woken for the next
batch at once instead of by its poll of at least 0.5 s. Their handlers write over a pool of 10 connections, by TypeORM or prepared; the handlers of a
batch run at the same time, or one statement writes all rows. Neither library keeps an inbox: the row isn't written in the transaction that completes the
job, and a retry writes it again. The mesh writes the row in the transaction that claims the message and inserts the inbox record. A profile of November
2026 on two cores shows: a message takes 56 µs of the process and 60 µs of the server, and the two cores are idle for the rest of the time. Each handler's
\`INSERT\` is a round trip in a shared transaction, and process and server wait for each other (so do the other libraries). One statement for the rows of a
whole batch would avoid this, but then handlers would not write their own rows.`,
  };
}

async function graphileWorker(connectionString: string, writerOf: WriterOf): Promise<number> {
  const logger = new Logger(() => () => undefined);
  await runMigrations({ connectionString, logger });
  await onPostgres(connectionString, [
    NOTES,
    `SELECT COUNT(*) FROM graphile_worker.add_jobs(ARRAY(
       SELECT ROW('note', json_build_object('id', gen_random_uuid(), 'text', '${TEXT}'), NULL, NULL, NULL, NULL, NULL, NULL)::graphile_worker.job_spec
       FROM generate_series(1, ${MESSAGES})))`,
    ...MAINTENANCE,
  ]);
  const writer = await writerOf(connectionString);
  const started = performance.now();
  const runner = await run({
    connectionString,
    ...GRAPHILE,
    logger,
    noHandleSignals: true,
    taskList: {
      note: async (payload) => void (await writer.write([payload as Row])),
    },
  });
  let done = 0;
  const ms = await new Promise<number>((resolve) => {
    // The event comes after the statement that completes the job.
    runner.events.on('job:complete', () => {
      if (++done === MESSAGES) resolve(performance.now() - started);
    });
  });
  await runner.stop();
  await writer.end();
  return (1000 * MESSAGES) / ms;
}

const INSERT = { name: 'note', text: 'INSERT INTO notes_note (id, text) VALUES ($1, $2)' };

interface Row {
  readonly id: string;
  readonly text: string;
}

/** How the handlers of the other libraries write the rows of their jobs. */
interface Writer {
  write(rows: readonly Row[]): Promise<unknown>;
  end(): Promise<unknown>;
}

type WriterOf = (connectionString: string) => Promise<Writer>;

const prepared: WriterOf = async (connectionString) => {
  const pool = new pg.Pool({ connectionString, max: 10 });
  const one = ({ id, text }: Row) => pool.query({ ...INSERT, values: [id, text] });
  return { write: (rows) => Promise.all(rows.map(one)), end: () => pool.end() };
};

const atOnce: WriterOf = async (connectionString) => {
  const pool = new pg.Pool({ connectionString, max: 10 });
  const statement = {
    name: 'notes',
    text: 'INSERT INTO notes_note (id, text) SELECT * FROM unnest($1::text[], $2::text[])',
  };
  const write = (rows: readonly Row[]) =>
    pool.query({ ...statement, values: [rows.map(({ id }) => id), rows.map(({ text }) => text)] });
  return { write, end: () => pool.end() };
};

const byOrm: WriterOf = async (url) => {
  const dataSource = await new DataSource({ type: 'postgres', url, poolSize: 10, entities: [Note] }).initialize();
  const notes = dataSource.getRepository(Note);
  return { write: (rows) => Promise.all(rows.map((row) => notes.insert(row))), end: () => dataSource.destroy() };
};

async function pgBoss(connectionString: string, writerOf: WriterOf): Promise<number> {
  const boss = new PgBoss({ connectionString, max: 10, supervise: false, schedule: false });
  boss.on('error', (error) => console.error(error));
  await boss.start();
  await boss.createQueue('note');
  await onPostgres(connectionString, [
    NOTES,
    `INSERT INTO pgboss.job (name, data)
     SELECT 'note', json_build_object('id', gen_random_uuid(), 'text', '${TEXT}') FROM generate_series(1, ${MESSAGES})`,
    ...MAINTENANCE,
  ]);
  const writer = await writerOf(connectionString);
  const observer = new pg.Client({ connectionString });
  await observer.connect();
  let done = 0;
  const started = performance.now();
  for (let n = 0; n < PG_BOSS.workers; n++) {
    const id: string = await boss.work<Row>('note', PG_BOSS, async (jobs) => {
      await writer.write(jobs.map(({ data }) => data));
      done += jobs.length;
      boss.notifyWorker(id);
    });
  }
  while (done < MESSAGES) await new Promise((resolve) => setTimeout(resolve, 5));
  // pg-boss fetches the next batch before the last one is marked as completed.
  const open = `SELECT COUNT(*)::int AS n FROM pgboss.job WHERE state <> 'completed'`;
  while ((await observer.query<{ n: number }>(open)).rows[0]!.n > 0)
    await new Promise((resolve) => setTimeout(resolve, 5));
  const ms = performance.now() - started;
  await boss.stop({ graceful: false, wait: true });
  await observer.end();
  await writer.end();
  return (1000 * MESSAGES) / ms;
}
