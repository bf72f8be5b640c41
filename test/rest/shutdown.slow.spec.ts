import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { setTimeout as wait } from 'node:timers/promises';
import { Agent, request } from 'undici';
import { bundleIfMissing } from '../../tools/bundle.js';
import { eventually } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';
import { migrateCommand } from '../support/migrate-command.js';
import { startServer } from '../support/server.js';

const MAIN = fileURLToPath(new URL('../../dist/src/main.js', import.meta.url));

describe('SIGTERM', () => {
  beforeAll(bundleIfMissing);

  it('to npm run start:prod ends the process of the application', async () => {
    const database = await DATABASES[0]!.fresh();
    expect((await migrateCommand([], database)).code).toBe(0);
    // In a process group of its own, which the test can end as a whole.
    const npm = spawn('npm', ['run', 'start:prod'], {
      env: {
        PATH: process.env.PATH,
        DATABASE_URL: database,
        PORT: '0',
        MESH_PORT: '0',
        AUTH: 'none',
        SHUTDOWN_DELAY: 'PT0S',
      },
      stdio: ['ignore', 'pipe', 'inherit'],
      detached: true,
    });
    try {
      let output = '';
      npm.stdout.on('data', (chunk) => (output += String(chunk)));
      const port = () => /"port":(\d+)/.exec(output)?.[1];
      await eventually(
        async () => output,
        () => port() !== undefined,
      );
      const isServed = () =>
        fetch(`http://localhost:${port()}/health/live`).then(
          ({ ok }) => ok,
          () => false,
        );
      expect(await isServed()).toBe(true);
      npm.kill('SIGTERM');
      await once(npm, 'exit');
      await eventually(isServed, (it) => !it, 5000);
    } finally {
      killGroup(npm.pid!);
    }
  });

  it('ends a process under load on kept connections of both ports within a second, with code 0', async () => {
    const database = await DATABASES[0]!.fresh();
    const server = await startServer({ DATABASE_URL: database, MESH_PORT: '0', SHUTDOWN_GRACE: 'PT30S' });
    const dispatcher = new Agent({ connections: 10 });
    let [isOver, answers] = [false, 0];
    const load = [server.url, server.meshUrl].flatMap((url) =>
      Array.from({ length: 10 }, async () => {
        while (!isOver) {
          await request(`${url}/health/live`, { dispatcher })
            .then(({ body }) => body.dump())
            .then(
              () => answers++,
              () => wait(5),
            );
        }
      }),
    );
    await wait(500);
    const [began, before] = [performance.now(), answers];
    const code = await server.end('SIGTERM');
    const ms = performance.now() - began;
    isOver = true;
    await Promise.all(load);
    await dispatcher.destroy();
    expect([code, before > 0]).toEqual([0, true]);
    // A tenth of the grace, on a busy machine.
    expect(ms).toBeLessThan(3000);
  });

  it('ends a process that is being loaded and started with code 0, as does Ctrl-C', async () => {
    const began = performance.now();
    const first = await startServer({ DATABASE_URL: await DATABASES[0]!.fresh() });
    const startMs = performance.now() - began;
    await first.end('SIGKILL');
    // Node itself needs about a tenth of the time, and has no handler until then.
    for (const part of [0.4, 0.6, 0.8, 0.9]) {
      for (const signal of ['SIGTERM', 'SIGINT'] as const) {
        const env = { PATH: process.env.PATH, PORT: '0', DATABASE_URL: await DATABASES[0]!.fresh() };
        const child = spawn(process.execPath, [MAIN], { env, stdio: 'ignore' });
        const exited = once(child, 'exit');
        await wait(part * startMs);
        child.kill(signal);
        expect([part, signal, ...((await exited) as unknown[])]).toEqual([part, signal, 0, null]);
      }
    }
  });
});

function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // All of its processes have ended.
  }
}
