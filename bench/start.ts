import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import BetterSqlite3 from 'better-sqlite3';
import { request } from 'undici';
import { DEMO_RIDE, REACHED } from '../src/demo.js';
import { freePort } from '../tools/ports.js';
import { ROOT } from '../tools/source.js';
import { insertRides, manyRides, type RideFixture } from '../workshop/runner/fixtures.js';
import { StepDatabases } from '../workshop/runner/step-databases.js';
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
  await startOfOurs(database, DEMO_RIDE, 'development');
  await startOfPlainNest(plain);
  // Each start has a ride of its own: to end one that is over is a harmless repeat, and no event follows from it.
  const rides = manyRides(1, rounds);
  const [mesh, nest] = await alternating(
    rounds,
    () => startToEnd(database, rides.pop()!),
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
      row('process start to the first accepted event (a ride is over), compiled', 'ms', 'ms'),
      row('resident memory then', 'residentMb', 'MB'),
    ],
    notes: `**Start.** As in production, on a database that is migrated, to the first answer over HTTP: that the end of a ride that is
in transit was accepted, and is committed with the command that settles it. Each start has a ride of its own, put in before it, and
looked up afterwards: it has to be completed. The Nest application has one controller and one SQLite connection, and answers its
first request. Where the time goes, by a profile of November 2026 on two cores: of about 550 ms some 470 are loading modules (TypeORM 80, rxjs 47,
the 95 files of zod 36, the 64 of @nestjs/cqrs and 110 of our own; 53 of it is garbage collection), and 95 creating the application. The
compile cache of Node 22, or a bundle, would close it.`,
  };
}

/** From the start of the compiled application, on a database that it knows, to the end of a ride that it has accepted. */
async function startToEnd(database: string, ride: RideFixture): Promise<Start> {
  const databases = new StepDatabases({ database: () => 'cabs', tables: 'modules' }, () => database);
  insertRides(databases, [ride]);
  // Nobody else has the file open when it starts.
  databases.close();
  const found = await startOfOurs(database, ride.id);
  const db = new BetterSqlite3(database, { readonly: true });
  const status = db.prepare('SELECT status FROM rides_transit WHERE id = ?').pluck().get(ride.id);
  db.close();
  if (status !== 'COMPLETED') throw new Error(`The ride whose end was accepted is ${status as string}`);
  return found;
}

function startOfOurs(database: string, ride: string, NODE_ENV = 'production'): Promise<Start> {
  const environment = { DATABASE_URL: `sqlite:${database}`, LOG_LEVEL: 'silent', NODE_ENV };
  const body = JSON.stringify(REACHED);
  return start(join(ROOT, 'dist/main.js'), environment, `/transits/${ride}/complete`, body);
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
