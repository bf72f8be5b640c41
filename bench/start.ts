import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { BetterSqlite3 } from '../tools/better-sqlite3.js';
import { request } from 'undici';
import { DEMO_RIDE, REACHED } from '../src/demo.js';
import { BUNDLED_MAIN, bundleApplication } from '../tools/bundle.js';
import { freePort } from '../tools/ports.js';
import { ROOT } from '../tools/source.js';
import { insertRides, manyRides, type RideFixture } from '../workshop/runner/fixtures.js';
import { StepDatabases } from '../workshop/runner/step-databases.js';
import { NODE_ENVIRONMENT } from './measured-node.js';
import { residentMb } from './processes.js';
import { alternating, median, ratioRow, type Findings, type TestBed } from './rounds.js';

interface Start {
  readonly ms: number;
  readonly residentMb: number;
}

/** The compiled application as `nest build` leaves it. */
const COMPILED_MAIN = join(ROOT, 'dist/src/main.js');

/** The start of the application and its memory, bundled and not bundled, against a Nest application with TypeORM. */
export async function starting({ rounds, newDatabasePath }: TestBed): Promise<Findings> {
  bundleApplication();
  const [database, plain] = [newDatabasePath(), newDatabasePath()];
  // Starts before the measurement apply the migrations, bring the files into the file system's cache, and fill Node's compile cache.
  await startOfMesh(COMPILED_MAIN, database, DEMO_RIDE, 'development');
  await startOfPlainNest(plain);
  // Each start completes another transit: completing one again would send no event.
  const rides = manyRides(1, 2 * rounds + 1);
  await startToEnd(BUNDLED_MAIN, database, rides.pop()!);
  const [bundled, compiled, nest] = await alternating(
    rounds,
    () => startToEnd(BUNDLED_MAIN, database, rides.pop()!),
    () => startToEnd(COMPILED_MAIN, database, rides.pop()!),
    () => startOfPlainNest(plain),
  );
  const row = (what: string, starts: readonly Start[], of: keyof Start, unit: string, atMost: number) => {
    const [meshValue, nestValue] = [starts, nest!].map((it) => median(it.map((start) => start[of]))) as [
      number,
      number,
    ];
    const shown = (value: number) => `${Math.round(value)} ${unit}`;
    const against = `a Nest application with TypeORM only: ${shown(nestValue)}`;
    return ratioRow({ what, measured: shown(meshValue), against }, meshValue / nestValue, { atMost });
  };
  return {
    rows: [
      row('process start to the first accepted event (a ride is completed), bundled', bundled!, 'ms', 'ms', 1.3),
      row('resident memory then, bundled', bundled!, 'residentMb', 'MB', 1.3),
      row('process start to the first accepted event, compiled only', compiled!, 'ms', 'ms', 1.5),
      row('resident memory then, compiled only', compiled!, 'residentMb', 'MB', 1.5),
    ],
    notes: `**Start.** As in production, on a migrated database, until the first answer over HTTP: the completion of a ride is accepted, and
committed together with the command that settles it. Each start has its own ride, inserted before the start, and checked afterwards: it has to be
completed. The Nest application has one controller and one SQLite connection, answers its first request, and is not bundled: it shows what
Nest and TypeORM cost where they are loaded file by file. The bundle is what the image and \`npm run start:prod\` start; \`npm start\`
and the tests start the files that \`nest build\` writes. A start of these loads 1700 files, the Nest application 1130, and the bundle 42.
Node 22 and later have a compile cache, too, which all starts but the first use; the Nest application has none.`,
  };
}

/** Measures from the start of the application, on a migrated database, to the accepted completion of a transit. */
async function startToEnd(main: string, database: string, ride: RideFixture): Promise<Start> {
  const databases = new StepDatabases({ database: () => 'cabs', tables: 'modules' }, () => database);
  insertRides(databases, [ride]);
  // Close the file before the application starts.
  databases.close();
  const found = await startOfMesh(main, database, ride.id);
  const db = new BetterSqlite3(database, { readonly: true });
  const status = db.prepare('SELECT status FROM rides_transit WHERE id = ?').pluck().get(ride.id);
  db.close();
  if (status !== 'COMPLETED') throw new Error(`The transit whose completion was accepted is ${status as string}`);
  return found;
}

function startOfMesh(main: string, database: string, ride: string, NODE_ENV = 'production'): Promise<Start> {
  const environment = {
    DATABASE_URL: `sqlite:${database}`,
    LOG_LEVEL: 'silent',
    NODE_ENV,
    MESH_PORT: '0',
    AUTH: 'none',
    SHUTDOWN_DELAY: 'PT0S',
  };
  const body = JSON.stringify(REACHED);
  return start(main, environment, `/transits/${ride}/complete`, body);
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
    env: { ...NODE_ENVIRONMENT, PORT: String(port), ...environment },
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
