import { spawn, type StdioOptions } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, openSync } from 'node:fs';
import { HISTORIES } from '../../migrations/histories.js';
import { migrateDatabase } from '../../src/infrastructure/persistence/database.js';
import { meshMigrations } from '../../src/infrastructure/store/migration-histories.js';
import { freePort } from '../../tools/ports.js';
import { eventually } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';

/* A process goes on when its log lines can't be written. */

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
    const ended = once(child, 'exit');
    child.kill('SIGTERM');
    expect(await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, 8000, 'late').unref())])).toEqual([
      0,
      null,
    ]);
  },
  60_000,
);
