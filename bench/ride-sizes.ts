import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { BetterSqlite3 } from '../tools/better-sqlite3.js';
import pg from 'pg';
import { PICKUP, PLANNED, REACHED } from '../src/demo.js';
import { runCommand } from '../tools/command-line.js';
import { Child } from '../tools/mesh-up/child.js';
import { freePort } from '../tools/ports.js';
import { startPostgres } from '../tools/postgres.js';
import { processPlanner } from '../workshop/runner/process-planner.js';
import { buildApplication } from '../workshop/runner/step-directory.js';
import { folderOf, STEPS } from '../workshop/runner/steps.js';
import { QUIET } from './transit-load.js';

/*
 * What a ride leaves in the database, by table with its indexes, on both databases. docs/growth.md has the figures.
 */

const USAGE = `npm run bench:sizes -- [--rides N]

  Lets rides take place over HTTP, from the request to the settlement, and prints what they leave in each table, with its
  indexes, after VACUUM. Takes about two minutes.

  --rides N   how many; default 1000`;

/** The step that runs the compiled application in one process with one database. */
const APPLICATION = 7;
const START_MS = 30_000;
const AT_A_TIME = 8;
const DAYS_A_YEAR = 365;
/** Rides of the town in docs/growth.md. */
const RIDES_A_DAY = 10_000;

/** How long rows are kept, by table. Other tables are the mesh's, and empty when idle. */
const KEPT: Readonly<Record<string, string>> = {
  rides_transit: 'without limit',
  drivers_fee: 'without limit',
  invoicing_invoice: 'without limit',
  loyalty_miles: 'without limit',
  drivers_occupancy: '400 days',
  geolocation_route: '400 days',
  mesh_inbox: '14 days',
  mesh_idempotency_key: '24 hours',
};

const SIZES = {
  sqlite: `SELECT m.tbl_name AS name, SUM(s.pgsize - s.unused) AS bytes FROM dbstat AS s JOIN sqlite_master AS m ON m.name = s.name
    GROUP BY m.tbl_name`,
  postgres: `SELECT relname AS name, pg_total_relation_size(oid) AS bytes FROM pg_class
    WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace`,
};
const COUNTS = Object.keys(KEPT)
  .map((name) => `SELECT '${name}' AS name, COUNT(*) AS n FROM ${name}`)
  .join(' UNION ALL ');

type Count = { name: string; n: number | string };
type Size = { bytes: number; rows: number };

function sizes(
  bytes: readonly { name: string; bytes: number | string }[],
  counts: readonly Count[],
): Map<string, Size> {
  const bytesOf = new Map(bytes.map((it) => [it.name, Number(it.bytes)]));
  return new Map(counts.map(({ name, n }) => [name, { bytes: bytesOf.get(name) ?? 0, rows: Number(n) }]));
}

/** Bytes of each table with its indexes, after a VACUUM that leaves no gaps. */
async function sizesOf(url: string): Promise<Map<string, Size>> {
  if (url.startsWith('sqlite:')) {
    const db = new BetterSqlite3(url.slice('sqlite:'.length));
    db.exec('VACUUM');
    const rows = db.prepare(SIZES.sqlite).all() as { name: string; bytes: number }[];
    const counts = db.prepare(COUNTS).all() as Count[];
    db.close();
    return sizes(rows, counts);
  }
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await client.query('VACUUM (FULL)');
  const { rows } = await client.query<{ name: string; bytes: string }>(SIZES.postgres);
  const counts = await client.query<Count>(COUNTS);
  await client.end();
  return sizes(rows, counts.rows);
}

/** Posts as a user does, who tries again when a driver isn't free yet or the application is busy. */
async function post<Body>(url: string, body: object = {}): Promise<Body> {
  for (;;) {
    const headers = { 'content-type': 'application/json', 'idempotency-key': randomUUID(), prefer: 'wait=20' };
    const response = await fetch(url, { method: 'POST', headers, body: JSON.stringify(body) });
    if (response.ok) return (await response.json()) as Body;
    if (![409, 503].includes(response.status))
      throw new Error(`POST ${url}: ${response.status} ${await response.text()}`);
    await response.arrayBuffer();
    await wait(100);
  }
}

async function newDriver(url: string): Promise<number> {
  const person = { firstName: 'Ada', lastName: 'Byron', driverLicense: 'FARME100165AB5EW' };
  const { id } = await post<{ id: number }>(`${url}/drivers`, person);
  await post(`${url}/drivers/${id}/activate`);
  return id;
}

async function newClient(url: string): Promise<number> {
  const { id } = await post<{ id: number }>(`${url}/clients`, { name: 'Jane', lastName: 'Roe' });
  await post(`${url}/clients/${id}/awards`);
  await post(`${url}/clients/${id}/awards/activate`);
  return id;
}

/** A ride that ends at another destination than planned. */
async function ride(url: string, clientId: number, driverId: number): Promise<void> {
  const { id } = await post<{ id: string }>(`${url}/transits`, { clientId, from: PICKUP, to: PLANNED });
  const step = (name: string, body?: object) => post(`${url}/transits/${id}/${name}`, body);
  await step('publish');
  await step('accept', { driverId });
  await step('start');
  await step('complete', REACHED);
}

/** Lets users ride, and waits until all is settled and the reconcile loop has found it whole. */
async function letRide(url: string, rides: number): Promise<void> {
  let left = rides;
  const user = async () => {
    const [client, ...drivers] = [await newClient(url), await newDriver(url), await newDriver(url)];
    while (left-- > 0) await ride(url, client, drivers[left % 2]!);
  };
  await Promise.all(Array.from({ length: AT_A_TIME }, user));
  const read = async <Body>(path: string) => (await (await fetch(`${url}${path}`)).json()) as Body;
  while ((await read<{ pending: number }>('/mesh/outbox')).pending > 0) await wait(50);
  await fetch(`${url}/mesh/reconciliations/run?after=PT0S`, { method: 'POST' });
  const runs = () => read<{ items: { isRunning: boolean; missing: object }[] }>('/mesh/reconciliations');
  while ((await runs()).items[0]?.isRunning !== false) await wait(50);
}

/** @returns a table with the bytes that each ride has left */
async function measure(name: string, database: string, folder: string, rides: number): Promise<string> {
  const planner = processPlanner(folderOf(STEPS[APPLICATION]!), folder, await freePort());
  const planned = planner.application('cabs', { DATABASE_URL: database, MESH_RECONCILE_EVERY: 'PT0S', SEED: 'none' });
  const child = new Child(planned, QUIET, {
    line: (_, line, from) => void (from === 'stderr' && process.stderr.write(`${line}\n`)),
    died: (_, how) => void process.stderr.write(`The application ${how}\n`),
    started: () => undefined,
  });
  await child.start(START_MS);
  try {
    await letRide(planned.url, rides);
  } finally {
    await child.end();
  }
  const found = await sizesOf(database);
  const bytes = (table: string) => found.get(table)!.bytes / rides;
  const rows = (table: string) => (found.get(table)!.rows / rides).toFixed(1);
  const line = (cells: readonly (string | number)[]) => `| ${cells.join(' | ')} |`;
  const total = (kept: string) =>
    Object.keys(KEPT)
      .filter((it) => KEPT[it] === kept)
      .reduce((sum, it) => sum + bytes(it), 0);
  return [
    `## ${name}, ${rides} rides`,
    '',
    line(['table', 'kept', 'rows per ride', 'bytes per ride', `GB a year at ${RIDES_A_DAY} rides a day`]),
    line(['---', '---', '--:', '--:', '--:']),
    ...Object.entries(KEPT).map(([table, kept]) =>
      line([table, kept, rows(table), Math.round(bytes(table)), gbOf(bytes(table))]),
    ),
    ...['without limit', '400 days'].map((kept) =>
      line(['together', kept, '', Math.round(total(kept)), gbOf(total(kept))]),
    ),
    '',
  ].join('\n');
}

const gbOf = (bytesPerRide: number) => ((bytesPerRide * RIDES_A_DAY * DAYS_A_YEAR) / 1e9).toFixed(1);

const options = { rides: { type: 'string', default: '1000' } } as const;
await runCommand({ usage: USAGE, options, formatError: (error) => (error as Error).stack! }, async (values) => {
  buildApplication();
  const folder = mkdtempSync(join(tmpdir(), 'cabs-sizes-'));
  const postgres = await startPostgres();
  try {
    const rides = Number(values.rides);
    console.log(await measure('SQLite', `sqlite:${join(folder, 'cabs.db')}`, folder, rides));
    if (postgres) console.log(await measure('PostgreSQL', await postgres.newDatabase(), folder, rides));
  } finally {
    await postgres?.stop();
    rmSync(folder, { recursive: true, force: true });
  }
});
process.exit();
