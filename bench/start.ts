import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { request } from 'undici';
import { DEMO_RIDE, REACHED } from '../src/demo.js';
import { freePort } from '../tools/ports.js';
import { ROOT } from '../tools/source.js';

export interface Start {
  readonly ms: number;
  readonly residentMb: number;
}

/** From the start of the compiled application, on a database that it knows, to the first ride whose end it has accepted. */
export function startOfOurs(database: string): Promise<Start> {
  const environment = { DATABASE_URL: `sqlite:${database}`, LOG_LEVEL: 'silent', SEED: 'demo' };
  const body = JSON.stringify(REACHED);
  return start(join(ROOT, 'dist/main.js'), environment, `/transits/${DEMO_RIDE}/complete`, body);
}

/** From the start of a Nest application with TypeORM and nothing else to its first answer. */
export function startOfPlainNest(database: string): Promise<Start> {
  return start(join(ROOT, 'bench/plain-nest.mjs'), { DATABASE: database }, '/');
}

async function start(script: string, environment: object, path: string, body?: string): Promise<Start> {
  const port = await freePort();
  const began = performance.now();
  const child = spawn(process.execPath, [script], {
    ...{ cwd: ROOT, stdio: 'ignore' },
    env: { PATH: process.env.PATH, PORT: String(port), ...environment },
  });
  const headers = { 'content-type': 'application/json' };
  const ask = () =>
    request(`http://127.0.0.1:${port}${path}`, { method: body ? 'POST' : 'GET', headers, ...(body && { body }) }).then(
      async (reply) => {
        await reply.body.dump();
        return reply.statusCode < 300;
      },
      () => false,
    );
  while (!(await ask())) await wait(5);
  const ms = performance.now() - began;
  const status = readFileSync(`/proc/${child.pid}/status`, 'utf8');
  const residentMb = Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? NaN) / 1024;
  const gone = once(child, 'exit');
  child.kill('SIGTERM');
  await gone;
  return { ms, residentMb };
}
