import { Logger, run, runMigrations } from 'graphile-worker';
import pg from 'pg';
import PgBoss from 'pg-boss';
import { AFTERWARDS, onPostgres, TEXT } from './backlog.js';
import { WriteNote } from './notes.js';
import { alternating, median, NO_POSTGRES, perSecond, ratioRow, type Findings, type Stand } from './rounds.js';
import { ours } from './sqlite-contenders.js';

/** Messages that are there when the clock starts. */
const MESSAGES = 5000;
/** As graphile-worker's page on performance has it. */
const GRAPHILE = { concurrency: 24, maxPoolSize: 25 };
/** Of 2, 4 and 8 workers with 100 to 500 jobs none was clearly faster. Each batch is followed by the next at once, see below. */
const BOSS = { workers: 4, batchSize: 100 };

const NOTES = 'CREATE TABLE note (id text PRIMARY KEY, text text NOT NULL)';

/** Messages settled a second on PostgreSQL: ours, graphile-worker, and pg-boss. */
export async function postgresContenders({ rounds, freshPostgres }: Stand): Promise<Findings> {
  const what = `messages settled, PostgreSQL, one replica (${MESSAGES.toLocaleString('en')} pending)`;
  if (!freshPostgres) {
    return { rows: [{ what, measured: NO_POSTGRES, against: '', aim: 'at least 3' }], notes: '' };
  }
  const values = await alternating(
    rounds,
    async () => ours(await freshPostgres(), MESSAGES, WriteNote),
    async () => graphileWorker(await freshPostgres()),
    async () => pgBoss(await freshPostgres(), oneByOne),
    async () => pgBoss(await freshPostgres(), atOnce),
  );
  const [mesh, graphile, boss, batches] = values.map(median) as [number, number, number, number];
  const measured = perSecond(mesh);
  const row = (against: string, value: number) =>
    ratioRow({ what, measured, against: `${against}: ${perSecond(value)}` }, mesh / value, { atLeast: 3 });
  return {
    rows: [
      row('graphile-worker 0.16.6', graphile),
      row('pg-boss 10.4.2, a statement for each row', boss),
      row('pg-boss 10.4.2, a statement for the rows of a batch', batches),
    ],
    notes: `**PostgreSQL.** The same server for all, at its default durability (\`fsync\` and \`synchronous_commit\` on), a fresh
database for each round, \`ANALYZE\` and \`CHECKPOINT\` before the clock starts. Ours has its pool of 10 connections. graphile-worker:
concurrency ${GRAPHILE.concurrency}, pool ${GRAPHILE.maxPoolSize}, as its page on performance has it (0.16 is the last to run on Node 20, and fetches and completes
jobs one by one); its task writes by a prepared statement. pg-boss: ${BOSS.workers} workers that fetch ${BOSS.batchSize} jobs at a time, and are woken for the next
batch at once instead of with its poll of at least 0.5 s; its handler writes each row of a batch by a prepared statement, or
all of them by one, outside of the transaction that completes the jobs. Neither keeps an inbox: a job that is
tried again does its work again.`,
  };
}

async function graphileWorker(connectionString: string): Promise<number> {
  const logger = new Logger(() => () => undefined);
  await runMigrations({ connectionString, logger });
  await onPostgres(connectionString, [
    NOTES,
    `SELECT COUNT(*) FROM graphile_worker.add_jobs(ARRAY(
       SELECT ROW('note', json_build_object('id', gen_random_uuid(), 'text', '${TEXT}'), NULL, NULL, NULL, NULL, NULL, NULL)::graphile_worker.job_spec
       FROM generate_series(1, ${MESSAGES})))`,
    ...AFTERWARDS,
  ]);
  const started = performance.now();
  const runner = await run({
    ...{ connectionString, ...GRAPHILE, logger, noHandleSignals: true },
    taskList: {
      note: async (payload, helpers) => {
        const { id, text } = payload as { id: string; text: string };
        await helpers.withPgClient((client) => client.query({ ...INSERT, values: [id, text] }));
      },
    },
  });
  let done = 0;
  const ms = await new Promise<number>((resolve) => {
    // After the statement that completes the job.
    runner.events.on('job:complete', () => {
      if (++done === MESSAGES) resolve(performance.now() - started);
    });
  });
  await runner.stop();
  return (1000 * MESSAGES) / ms;
}

const INSERT = { name: 'note', text: 'INSERT INTO note (id, text) VALUES ($1, $2)' };

type Write = (pool: pg.Pool, jobs: readonly { id: string; text: string }[]) => Promise<unknown>;

const oneByOne: Write = (pool, jobs) =>
  Promise.all(jobs.map(({ id, text }) => pool.query({ ...INSERT, values: [id, text] })));

const atOnce: Write = (pool, jobs) =>
  pool.query({
    name: 'notes',
    text: 'INSERT INTO note (id, text) SELECT * FROM unnest($1::text[], $2::text[])',
    values: [jobs.map(({ id }) => id), jobs.map(({ text }) => text)],
  });

async function pgBoss(connectionString: string, write: Write): Promise<number> {
  const boss = new PgBoss({ connectionString, max: 10, supervise: false, schedule: false });
  boss.on('error', (error) => console.error(error));
  await boss.start();
  await boss.createQueue('note');
  await onPostgres(connectionString, [
    NOTES,
    `INSERT INTO pgboss.job (name, data)
     SELECT 'note', json_build_object('id', gen_random_uuid(), 'text', '${TEXT}') FROM generate_series(1, ${MESSAGES})`,
    ...AFTERWARDS,
  ]);
  const pool = new pg.Pool({ connectionString, max: 10 });
  let done = 0;
  const started = performance.now();
  for (let n = 0; n < BOSS.workers; n++) {
    const id: string = await boss.work<{ id: string; text: string }>('note', BOSS, async (jobs) => {
      await write(
        pool,
        jobs.map(({ data }) => data),
      );
      done += jobs.length;
      boss.notifyWorker(id);
    });
  }
  while (done < MESSAGES) await new Promise((resolve) => setTimeout(resolve, 5));
  // It doesn't wait for the statement that completes a batch before it fetches the next one.
  const open = `SELECT COUNT(*)::int AS n FROM pgboss.job WHERE state <> 'completed'`;
  while ((await pool.query<{ n: number }>(open)).rows[0]!.n > 0) await new Promise((resolve) => setTimeout(resolve, 5));
  const ms = performance.now() - started;
  await boss.stop({ graceful: false, wait: true });
  await pool.end();
  return (1000 * MESSAGES) / ms;
}
