import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import pg from 'pg';
import { DatabaseUnavailable } from '../../src/infrastructure/persistence/sql.js';
import { launchServer, postgresBinaries, startServer } from '../../tools/postgres-server.js';
import { eventually } from '../support/cabs.js';
import { openNotes, outcome, type Notes } from '../support/notes.js';

const POOL_SIZE = 3;
const binaries = postgresBinaries();

(binaries ? describe : describe.skip)('A server of PostgreSQL', () => {
  let server: ChildProcess;
  let url: string;
  let folder: string;
  let notes: Notes;

  const administer = async <Row extends object>(...statements: string[]): Promise<Row[]> => {
    const client = new pg.Client({ connectionString: url });
    await client.connect();
    try {
      let rows: Row[] = [];
      for (const statement of statements) ({ rows } = await client.query<Row>(statement));
      return rows;
    } finally {
      await client.end();
    }
  };
  const waitForStandby = (name: string) =>
    administer(`ALTER SYSTEM SET synchronous_standby_names = '${name}'`, 'SELECT pg_reload_conf()');
  const loseStandby = async () => {
    await waitForStandby('absent');
    // The processes of the server learn it a little later, each by itself.
    await eventually(
      () => outcome(add(`probe ${performance.now()}`)),
      (it) => it !== 'done',
    );
    await eventually(
      () => administer(`SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'`),
      (rows) => rows.length === 0,
    );
  };
  const restart = async () => {
    const exited = once(server, 'exit');
    server.kill('SIGINT');
    await exited;
    server = await launchServer(binaries!, folder, url);
  };
  const add = (id: string) => notes.work.run(() => notes.add(id));
  const assertReady = () =>
    notes.work.health.assertWritable(() => add(`probe ${performance.now()}`).then(() => undefined));

  beforeAll(async () => {
    ({ server, url, folder } = await startServer(binaries!));
    server.on('error', () => undefined);
  }, 60_000);
  afterAll(() => {
    server.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  });
  beforeEach(async () => {
    await administer('DROP TABLE IF EXISTS reply, note, notes_migrations');
    notes = await openNotes(url, { poolSize: POOL_SIZE });
  });
  afterEach(async () => {
    // A failed test must not fail the others, whose tables could not be dropped.
    await waitForStandby('');
    await notes.close();
  });

  it('whose standby is silent gets no more sessions than the pools may have, and is not ready', async () => {
    await add('before');
    await loseStandby();
    const sessions: number[] = [];
    const outcomes: Promise<'done' | Error>[] = [];
    for (let n = 0; n < 36; n++) {
      outcomes.push(outcome(add(`${n}`)));
      await wait(250);
      const counted = `SELECT count(*)::int AS n FROM pg_stat_activity WHERE application_name = 'mesh'`;
      sessions.push((await administer<{ n: number }>(counted))[0]!.n);
    }
    // As many may write as read.
    expect(Math.max(...sessions)).toBeLessThanOrEqual(2 * POOL_SIZE);
    await expect(assertReady()).rejects.toThrow(DatabaseUnavailable);
    for (const it of await Promise.all(outcomes)) expect(it).toBeInstanceOf(DatabaseUnavailable);
    await waitForStandby('');
    await eventually(
      () => outcome(assertReady()),
      (it) => it === 'done',
    );
    await add('after');
    expect(await notes.seen()).toContain('after');
  }, 90_000);

  it('whose reading sessions stand still gets no more sessions than the pools may have', async () => {
    const stopped = new Set<number>();
    const sessions: number[] = [];
    const outcomes: Promise<'done' | Error>[] = [];
    const sleep = 'SELECT pg_sleep(1)';
    for (let round = 0; round < 4; round++) {
      for (let n = 0; n < POOL_SIZE; n++)
        outcomes.push(outcome(n % 2 ? notes.database.read.all(sleep) : notes.database.reader.query(sleep)));
      await wait(300);
      const asleep = `SELECT pid FROM pg_stat_activity WHERE application_name = 'mesh' AND query = '${sleep}'`;
      for (const { pid } of await administer<{ pid: number }>(asleep)) {
        process.kill(pid, 'SIGSTOP');
        stopped.add(pid);
      }
      await wait(6500);
      const counted = `SELECT count(*)::int AS n FROM pg_stat_activity WHERE application_name = 'mesh'`;
      sessions.push((await administer<{ n: number }>(counted))[0]!.n);
    }
    for (const pid of stopped) process.kill(pid, 'SIGCONT');
    // One more may end the others.
    expect(Math.max(...sessions)).toBeLessThanOrEqual(2 * POOL_SIZE + 1);
    for (const it of await Promise.all(outcomes)) expect(it).toBeInstanceOf(Error);
    await eventually(
      () => outcome(Promise.all([add(`after ${performance.now()}`), notes.database.read.all('SELECT 1')])),
      (it) => it === 'done',
    );
  }, 90_000);

  it('that is told to stop waiting for its standby has not committed', async () => {
    await loseStandby();
    const adding = outcome(add('unknown'));
    await eventually(
      () => administer(`SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'`),
      (rows) => rows.length > 0,
    );
    expect(await adding).toBeInstanceOf(DatabaseUnavailable);
    await waitForStandby('');
  }, 30_000);

  it('that is a standby now is not ready and takes no units of work until it is the primary again', async () => {
    await add('before');
    const signal = join(folder, 'data', 'standby.signal');
    writeFileSync(signal, '');
    await restart();
    for (let n = 0; n < 10; n++) expect(await outcome(add(`${n}`))).toBeInstanceOf(DatabaseUnavailable);
    await expect(assertReady()).rejects.toThrow('this server is a standby, which takes no writes');
    rmSync(signal);
    await restart();
    await eventually(
      () => outcome(assertReady()),
      (it) => it === 'done',
    );
    await add('after');
  }, 60_000);
});
