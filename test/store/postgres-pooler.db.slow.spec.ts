import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import pg from 'pg';
import { Database } from '../../src/infrastructure/persistence/database.js';
import { AbandonedSessions } from '../../src/infrastructure/persistence/postgres/abandoned-sessions.js';
import { sessionClient, type ServerSession } from '../../src/infrastructure/persistence/postgres/session.js';
import { DatabaseTimeout, withTimeout } from '../../src/infrastructure/persistence/postgres/timeouts.js';
import { DatabaseUnavailable, type Sql } from '../../src/infrastructure/persistence/sql.js';
import { freePort } from '../../tools/ports.js';
import { postgresBinaries, startServer, unprivileged } from '../../tools/postgres-server.js';
import { eventually } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';
import { connect, notesHistory, numbers, openNotes, outcome } from '../support/notes.js';

/* With the real PgBouncer, where it is installed. */

const POOL_SIZE = 3;
const postgres = DATABASES.find(({ kind }) => kind === 'postgres');

function isInstalled(): boolean {
  try {
    execFileSync('pgbouncer', ['--version'], { stdio: 'pipe' });
    return true;
  } catch {
    return false;
  }
}

(postgres && isInstalled() ? describe : describe.skip)('PgBouncer', () => {
  let pooler: ChildProcess;

  /** @returns the address of a new database by way of the pooler */
  async function start(mode: 'session' | 'transaction' | 'statement', database?: string): Promise<string> {
    const direct = new URL(database ?? (await postgres!.fresh()));
    const port = await freePort();
    const folder = mkdtempSync(join(tmpdir(), 'cabs-pgbouncer-'));
    chmodSync(folder, 0o755);
    const settings = [
      '[databases]',
      `* = host=${direct.hostname} port=${direct.port} user=${direct.username}`,
      '[pgbouncer]',
      'listen_addr = 127.0.0.1',
      `listen_port = ${port}`,
      'unix_socket_dir =',
      // Each client is the user of the entry above.
      'auth_type = any',
      `pool_mode = ${mode}`,
    ];
    writeFileSync(join(folder, 'pgbouncer.ini'), settings.join('\n'));
    pooler = spawn('pgbouncer', [join(folder, 'pgbouncer.ini')], { ...unprivileged(), stdio: 'ignore' });
    const address = Object.assign(new URL(direct), { port: String(port) }).href;
    await eventually(
      () => outcome(connect(address).then((connection) => connection.close())),
      (it) => it === 'done',
    );
    return address;
  }
  afterEach(async () => {
    const exited = once(pooler, 'exit');
    pooler.kill('SIGKILL');
    await exited;
  });

  it('may give each client a session', async () => {
    const notes = await openNotes(await start('session'));
    await Promise.all(numbers(50).map((n) => notes.work.run(() => notes.add(`${n}`))));
    expect(await notes.seen()).toHaveLength(50);
    await notes.work.run(async () => {
      const [row] = await notes.work.sql.all<{ limit: string }>(`SELECT current_setting('statement_timeout') AS limit`);
      expect(row!.limit).toBe('2s');
    });
    await notes.close();
  }, 30_000);

  it.each(['transaction', 'statement'] as const)(
    'is refused at start when it gives each %s a session',
    async (mode) => {
      const database = await start(mode);
      const opening = Database.open({ database, entities: [], histories: [notesHistory], migrate: true });
      await expect(opening).rejects.toThrow('set pool_mode = session, or connect past the pooler');
    },
    30_000,
  );

  it('gets the CancelRequest of an abandoned session, whose process is known', async () => {
    const address = await start('session');
    const observer = await connect(address);
    const Client = await sessionClient({});
    const pool = new pg.Pool({ connectionString: address, Client } as object);
    // No statement over another connection ends the session.
    const reader: Sql = { dialect: 'postgres', all: () => Promise.reject(new Error('busy')), run: async () => 0 };
    const abandoned = new AbandonedSessions(pool, reader);
    const client = await pool.connect();
    const { rows } = await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
    expect((client as ServerSession).serverPid).toBe(rows[0]!.pid);
    const sleeping = withTimeout(client, client.query('SELECT pg_sleep(60)'), 300, () => abandoned.add(client));
    expect(await outcome(sleeping)).toBeInstanceOf(DatabaseTimeout);
    client.release(true);
    await eventually(
      () => observer.all(`SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND pid = ${rows[0]!.pid}`),
      (active) => active.length === 0,
    );
    abandoned.close();
    await pool.end();
    await observer.close();
  }, 30_000);

  it('keeps no more sessions than the pool may have while a standby is silent', async () => {
    const { server, url, folder } = await startServer(postgresBinaries()!);
    server.on('error', () => undefined);
    const administrator = await connect(url);
    const waitForStandby = async (name: string) => {
      await administrator.run(`ALTER SYSTEM SET synchronous_standby_names = '${name}'`);
      await administrator.run('SELECT pg_reload_conf()');
    };
    try {
      const notes = await openNotes(await start('session', url), { poolSize: POOL_SIZE });
      const add = (id: string) => notes.work.run(() => notes.add(id));
      await add('before');
      await waitForStandby('absent');
      // The processes of the server learn it a little later, each by itself.
      await eventually(
        () => outcome(add(`probe ${performance.now()}`)),
        (it) => it !== 'done',
      );
      const waiting: number[] = [];
      const outcomes: Promise<'done' | Error>[] = [];
      for (let n = 0; n < 60; n++) {
        outcomes.push(outcome(add(`${n}`)));
        await wait(250);
        const counted = `SELECT count(*)::int AS n FROM pg_stat_activity WHERE wait_event = 'SyncRep'`;
        waiting.push((await administrator.all<{ n: number }>(counted))[0]!.n);
      }
      expect(Math.max(...waiting)).toBeGreaterThan(0);
      expect(Math.max(...waiting)).toBeLessThanOrEqual(POOL_SIZE);
      for (const it of await Promise.all(outcomes)) expect(it).toBeInstanceOf(DatabaseUnavailable);
      await waitForStandby('');
      await eventually(
        () => outcome(add(`after ${performance.now()}`)),
        (it) => it === 'done',
      );
      await notes.close();
    } finally {
      await administrator.close();
      server.kill('SIGKILL');
      rmSync(folder, { recursive: true, force: true });
    }
  }, 90_000);
});
