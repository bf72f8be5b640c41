import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { request } from 'undici';
import { DEMO_RIDE, REACHED } from '../src/demo.js';
import { freePort } from '../tools/ports.js';
import { ROOT } from '../tools/source.js';
import { residentMb } from './processes.js';
import { alternating, median, ratioRow, type Findings, type Stand } from './rounds.js';

interface Start {
  readonly ms: number;
  readonly residentMb: number;
}

/** The start of the compiled application, and its memory, against those of a Nest application with TypeORM. */
export async function starting({ rounds, fresh }: Stand): Promise<Findings> {
  const [database, plain] = [fresh(), fresh()];
  // Once without the clock: migrations are applied, and the file system knows the files.
  await startOfOurs(database, 'development');
  await startOfPlainNest(plain);
  const [mesh, nest] = await alternating(
    rounds,
    () => startOfOurs(database),
    () => startOfPlainNest(plain),
  );
  const row = (what: string, of: keyof Start, unit: string) => {
    const [ours, theirs] = [mesh!, nest!].map((starts) => median(starts.map((it) => it[of]))) as [number, number];
    const shown = (value: number) => `${Math.round(value)} ${unit}`;
    const against = `a Nest application with TypeORM and nothing else: ${shown(theirs)}`;
    return ratioRow({ what, measured: shown(ours), against }, ours / theirs, { atMost: 1.5 });
  };
  return {
    rows: [
      row('process start to the first accepted ride, compiled', 'ms', 'ms'),
      row('resident memory then', 'residentMb', 'MB'),
    ],
    notes: `**Start.** As in production, on a database that is migrated and has the demo's ride, to the first ride whose end is accepted over HTTP; the Nest
application has one controller and one SQLite connection, and answers its first request.`,
  };
}

/** From the start of the compiled application, on a database that it knows, to the first ride whose end it has accepted. */
function startOfOurs(database: string, NODE_ENV = 'production'): Promise<Start> {
  const environment = { DATABASE_URL: `sqlite:${database}`, LOG_LEVEL: 'silent', NODE_ENV };
  const body = JSON.stringify(REACHED);
  return start(join(ROOT, 'dist/main.js'), environment, `/transits/${DEMO_RIDE}/complete`, body);
}

/** From the start of a Nest application with TypeORM and nothing else to its first answer. */
function startOfPlainNest(database: string): Promise<Start> {
  return start(join(ROOT, 'bench/plain-nest.mjs'), { DATABASE: database, NODE_ENV: 'production' }, '/');
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
  const memory = residentMb(child.pid!);
  const gone = once(child, 'exit');
  child.kill('SIGTERM');
  await gone;
  return { ms, residentMb: memory };
}
