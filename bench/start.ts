import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { BetterSqlite3 } from '../tools/better-sqlite3.js';
import { request } from 'undici';
import { DEMO_RIDE, REACHED } from '../src/demo.js';
import { freePort } from '../tools/ports.js';
import { ROOT } from '../tools/source.js';
import { insertRides, manyRides, type RideFixture } from '../workshop/runner/fixtures.js';
import { StepDatabases } from '../workshop/runner/step-databases.js';
import { residentMb } from './processes.js';
import { alternating, median, ratioRow, type Findings, type TestBed } from './rounds.js';

interface Start {
  readonly ms: number;
  readonly residentMb: number;
}

/** The start of the compiled application and its memory, against a Nest application with TypeORM. */
export async function starting({ rounds, newDatabasePath }: TestBed): Promise<Findings> {
  const [database, plain] = [newDatabasePath(), newDatabasePath()];
  // A start before the measurement applies the migrations, and brings the files into the file system's cache.
  await startOfMesh(database, DEMO_RIDE, 'development');
  await startOfPlainNest(plain);
  // Each start completes another transit: completing one again would send no event.
  const rides = manyRides(1, rounds);
  const [mesh, nest] = await alternating(
    rounds,
    () => startToEnd(database, rides.pop()!),
    () => startOfPlainNest(plain),
  );
  const row = (what: string, of: keyof Start, unit: string) => {
    const [meshValue, nestValue] = [mesh!, nest!].map((starts) => median(starts.map((it) => it[of]))) as [
      number,
      number,
    ];
    const shown = (value: number) => `${Math.round(value)} ${unit}`;
    const against = `a Nest application with TypeORM only: ${shown(nestValue)}`;
    return ratioRow({ what, measured: shown(meshValue), against }, meshValue / nestValue, { atMost: 1.5 });
  };
  return {
    rows: [
      row('process start to the first accepted event (a ride is completed), compiled', 'ms', 'ms'),
      row('resident memory then', 'residentMb', 'MB'),
    ],
    notes: `**Start.** As in production, on a migrated database, until the first answer over HTTP: the completion of a ride is accepted, and
committed together with the command that settles it. Each start has its own ride, inserted before the start, and checked afterwards: it has to be
completed. The Nest application has one controller and one SQLite connection, and answers its
first request. A profile of November 2026 on two cores shows: of about 550 ms, some 470 ms are for loading modules (TypeORM 80 ms, rxjs 47 ms,
the 95 files of zod 36 ms, the 64 files of @nestjs/cqrs, and 110 files of this project; 53 ms are garbage collection), and 95 ms for creating the
application. The compile cache of Node 22 or a bundle would remove most of the difference.`,
  };
}

/** Measures from the start of the compiled application, on a migrated database, to the accepted completion of a transit. */
async function startToEnd(database: string, ride: RideFixture): Promise<Start> {
  const databases = new StepDatabases({ database: () => 'cabs', tables: 'modules' }, () => database);
  insertRides(databases, [ride]);
  // Close the file before the application starts.
  databases.close();
  const found = await startOfMesh(database, ride.id);
  const db = new BetterSqlite3(database, { readonly: true });
  const status = db.prepare('SELECT status FROM rides_transit WHERE id = ?').pluck().get(ride.id);
  db.close();
  if (status !== 'COMPLETED') throw new Error(`The transit whose completion was accepted is ${status as string}`);
  return found;
}

function startOfMesh(database: string, ride: string, NODE_ENV = 'production'): Promise<Start> {
  const environment = {
    DATABASE_URL: `sqlite:${database}`,
    LOG_LEVEL: 'silent',
    NODE_ENV,
    MESH_PORT: '0',
    AUTH: 'none',
  };
  const body = JSON.stringify(REACHED);
  return start(join(ROOT, 'dist/src/main.js'), environment, `/transits/${ride}/complete`, body);
}

/** Measures from the start of a Nest application with TypeORM to its first answer. */
function startOfPlainNest(database: string): Promise<Start> {
  return start(join(ROOT, 'bench/plain-nest.mjs'), { DATABASE: database, NODE_ENV: 'production' }, '/');
}

async function start(script: string, environment: object, path: string, body?: string): Promise<Start> {
  const port = await freePort();
  const began = performance.now();
  const child = spawn(process.execPath, [script], {
    cwd: ROOT,
    stdio: 'ignore',
    env: { PATH: process.env.PATH, PORT: String(port), ...environment },
  });
  const headers = { 'content-type': 'application/json' };
  const isAnswered = () =>
    request(`http://127.0.0.1:${port}${path}`, { method: body ? 'POST' : 'GET', headers, ...(body && { body }) }).then(
      async (reply) => {
        await reply.body.dump();
        return reply.statusCode < 300;
      },
      () => false,
    );
  while (!(await isAnswered())) await wait(5);
  const ms = performance.now() - began;
  const memory = residentMb(child.pid!);
  const gone = once(child, 'exit');
  child.kill('SIGTERM');
  await gone;
  return { ms, residentMb: memory };
}
