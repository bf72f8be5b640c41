import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Database } from '../../src/infrastructure/persistence/database.js';
import { freePort } from '../../tools/ports.js';
import { unprivileged } from '../../tools/postgres-server.js';
import { eventually } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';
import { connect, notesHistory, numbers, openNotes, outcome } from '../support/notes.js';

/* With the real PgBouncer, where it is installed. */

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
  async function start(mode: 'session' | 'transaction' | 'statement'): Promise<string> {
    const direct = new URL(await postgres!.fresh());
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
});
