import { randomUUID } from 'node:crypto';
import { PgBoss } from 'pg-boss';
import { MAINTENANCE, onPostgres, TEXT } from '../backlog.js';
import { rate, type Contenders } from './contender.js';
import { createTables, openWriter, recordJobs, untilNone, type Row, type Writer, type WriterName } from './writers.js';

const QUEUE = 'note';
/** 2, 4 and 8 workers with 100 to 500 jobs per batch were about equally fast. */
const [WORKERS, BATCH] = [4, 100];
/** Connections of pg-boss, and of the handlers. */
const POOL = 10;

export const contenders: Contenders = Object.fromEntries(
  (['orm', 'prepared', 'unnest'] as const).flatMap((name) => [
    [name, (database, howMany) => settle(database, howMany, name, byWorkers)],
    [`${name}-exactly-once`, (database, howMany) => settle(database, howMany, name, inTransactions)],
  ]),
);

type Way = (boss: PgBoss, writer: Writer, howMany: number) => Promise<void>;

async function settle(connectionString: string, howMany: number, name: WriterName, way: Way): Promise<number> {
  const boss = new PgBoss({ connectionString, max: POOL, supervise: false, schedule: false });
  boss.on('error', (error) => console.error(error));
  await boss.start();
  await boss.createQueue(QUEUE);
  await createTables(connectionString);
  await boss.insert(
    QUEUE,
    Array.from({ length: howMany }, () => ({ data: { id: randomUUID(), text: TEXT } })),
  );
  await onPostgres(connectionString, MAINTENANCE);
  const writer = await openWriter(name, connectionString, POOL);
  const perSecond = await rate(howMany, async () => {
    await way(boss, writer, howMany);
    await untilNone(connectionString, `SELECT COUNT(*)::int FROM pgboss.job WHERE state <> 'completed'`);
  });
  await boss.stop({ graceful: false });
  await writer.end();
  return perSecond;
}

/** As it is used by default. The handlers' rows are not written in the transaction that completes the jobs. */
async function byWorkers(boss: PgBoss, writer: Writer, howMany: number): Promise<void> {
  let done = 0;
  let finish: () => void;
  const last = new Promise<void>((resolve) => (finish = resolve));
  const options = { batchSize: BATCH, localConcurrency: WORKERS, burstWhenBatchFull: true };
  await boss.work<Row>(QUEUE, options, async (jobs) => {
    await writer.write(jobs.map(({ data }) => data));
    done += jobs.length;
    if (done >= howMany) finish();
  });
  await last;
}

/** Fetches jobs, records them in an inbox, writes their rows and completes them in one transaction, by the option `db`. */
async function inTransactions(boss: PgBoss, writer: Writer): Promise<void> {
  const nextBatch = () =>
    writer.inTransaction(async (client, write) => {
      const db = { executeSql: (text: string, values?: unknown[]) => client.query<object>(text, values) };
      const jobs = await boss.fetch<Row>(QUEUE, { batchSize: BATCH, db });
      if (jobs.length === 0) return false;
      const ids = jobs.map(({ id }) => id);
      const fresh = await recordJobs(client, ids);
      await write(jobs.filter(({ id }) => fresh.has(id)).map(({ data }) => data));
      await boss.complete(QUEUE, ids, undefined, { db });
      return true;
    });
  const work = async () => {
    while (await nextBatch());
  };
  await Promise.all(Array.from({ length: WORKERS }, work));
}
