import { Logger, run, runMigrations } from 'graphile-worker';
import { MAINTENANCE, onPostgres, TEXT } from '../backlog.js';
import { rate, type Contenders } from './contender.js';
import { createTables, openWriter, recordJobs, untilNone, type Row, type Writer, type WriterName } from './writers.js';

/** The settings of its page on performance. */
const WORKER = {
  concurrentJobs: 24,
  maxPoolSize: 25,
  localQueue: { size: 500 },
  completeJobBatchDelay: 0,
  failJobBatchDelay: 0,
};
/** Connections of the handlers. */
const POOL = 10;

export const contenders: Contenders = Object.fromEntries(
  (['orm', 'prepared'] as const).flatMap((name) => [
    [name, (database, howMany) => settle(database, howMany, name, byDefault)],
    [`${name}-inbox`, (database, howMany) => settle(database, howMany, name, withInbox)],
  ]),
);

type Handle = (writer: Writer, row: Row, jobId: string) => Promise<unknown>;

/** The handlers' rows are not written in the transaction that completes the jobs, and a retry writes them again. */
const byDefault: Handle = (writer, row) => writer.write([row]);

/** A retry writes nothing; its job is still completed in another transaction, since graphile-worker has no way to join them. */
const withInbox: Handle = (writer, row, jobId) =>
  writer.inTransaction(async (client, write) => {
    if ((await recordJobs(client, [jobId])).has(jobId)) await write([row]);
  });

async function settle(connectionString: string, howMany: number, name: WriterName, handle: Handle): Promise<number> {
  const logger = new Logger(() => () => undefined);
  const preset = { worker: { connectionString, ...WORKER } };
  await runMigrations({ preset, logger });
  await createTables(connectionString);
  await onPostgres(connectionString, [
    `SELECT COUNT(*) FROM graphile_worker.add_jobs(ARRAY(
       SELECT ROW('note', json_build_object('id', gen_random_uuid(), 'text', '${TEXT}'), NULL, NULL, NULL, NULL, NULL, NULL)::graphile_worker.job_spec
       FROM generate_series(1, ${howMany})))`,
    ...MAINTENANCE,
  ]);
  const writer = await openWriter(name, connectionString, POOL);
  let done = 0;
  let finish: () => void;
  const last = new Promise<void>((resolve) => (finish = resolve));
  const note = async (payload: unknown, { job }: { job: { id: string } }) => {
    await handle(writer, payload as Row, job.id);
    if (++done === howMany) finish();
  };
  let runner: Awaited<ReturnType<typeof run>>;
  const perSecond = await rate(howMany, async () => {
    runner = await run({ preset, logger, noHandleSignals: true, taskList: { note } });
    await last;
    // A completed job is deleted.
    await untilNone(connectionString, 'SELECT COUNT(*)::int FROM graphile_worker.jobs');
  });
  await runner!.stop();
  await writer.end();
  return perSecond;
}
