import { spawn, type ChildProcess, type StdioOptions } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, openSync } from 'node:fs';
import { HISTORIES } from '../../migrations/histories.js';
import { migrateDatabase } from '../../src/infrastructure/persistence/database.js';
import { meshMigrations } from '../../src/infrastructure/store/migration-histories.js';
import { freePort } from '../../tools/ports.js';
import { eventually } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';

/* A process goes on when its log lines can't be written. */

/** Its code and its signal, or 'late'. */
const endOf = (child: ChildProcess) => {
  const late = new Promise((resolve) => setTimeout(resolve, 8000, 'late').unref());
  return Promise.race([once(child, 'exit'), late]).finally(() => child.kill('SIGKILL'));
};

const start = async (output: 'pipe' | number) => {
  const [port, database] = [String(await freePort()), await DATABASES[0]!.fresh()];
  await migrateDatabase(database, [meshMigrations, ...HISTORIES]);
  const stdio: StdioOptions = ['ignore', output, 'ignore'];
  const env = {
    ...process.env,
    NODE_OPTIONS: '',
    NODE_ENV: 'production',
    AUTH: 'none',
    MESH_PORT: '0',
    DATABASE_URL: database,
    PORT: port,
    LOG_LEVEL: 'trace',
    SHUTDOWN_DELAY: 'PT0S',
  };
  const child = spawn(process.execPath, ['dist/src/main.js'], { env, stdio });
  // Nothing is read from a pipe.
  child.stdout?.pause();
  const status = async (path: string) => {
    const signal = AbortSignal.timeout(3000);
    return (await fetch(`http://127.0.0.1:${port}${path}`, { signal }).catch(() => undefined))?.status;
  };
  await eventually(
    () => status('/health/live'),
    (it) => it === 200,
  );
  return { child, status };
};

it('a process whose last lines fill the pipe ends', async () => {
  const lines = `const { createLogger } = await import('${new URL('../../dist/src/infrastructure/observability/logger.js', import.meta.url).href}');
    const logger = createLogger('info');
    for (let n = 0; n < 3000; n++) logger.info('x'.repeat(1000));
    process.exit(0);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', lines], { stdio: ['ignore', 'pipe', 'inherit'] });
  child.stdout.pause();
  expect(await endOf(child)).toEqual([0, null]);
}, 60_000);

const cases: [string, () => 'pipe' | number][] = [
  ['a pipe that nothing reads', () => 'pipe'],
  ...(existsSync('/dev/full')
    ? [['a full disk', () => openSync('/dev/full', 'w')] as [string, () => 'pipe' | number]]
    : []),
];

it.each(cases)(
  'a process whose standard output is %s goes on, and ends when it is told to',
  async (_, output) => {
    const { child, status } = await start(output());
    // More lines than a pipe takes.
    for (let n = 0; n < 600; n++) expect(await status(`/transits/${n}x`)).toBe(400);
    expect(await status('/health/live')).toBe(200);
    const ended = endOf(child);
    child.kill('SIGTERM');
    expect(await ended).toEqual([0, null]);
  },
  60_000,
);
