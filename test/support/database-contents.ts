import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { HISTORIES as MODULE_HISTORIES } from '../../migrations/histories.js';
import type { CloudEvent } from '../../src/infrastructure/cloudevents/cloud-event.js';
import { migrateDatabase } from '../../src/infrastructure/persistence/database.js';
import type { MigrationHistory } from '../../src/infrastructure/persistence/migrate.js';
import { meshMigrations } from '../../src/infrastructure/store/migration-histories.js';
import { extract } from '../../tools/extraction/extraction.js';
import type { Point } from '../../tools/extraction/move.js';
import { DATABASES } from './databases.js';
import { connect } from './notes.js';

/* Databases that are populated and read without the application, for the tests of the extraction. */

export const HISTORIES = [meshMigrations, ...MODULE_HISTORIES];

export function historyOf(module: string): MigrationHistory {
  return HISTORIES.find(({ owner }) => owner === module)!;
}

/** An environment for modules in processes of their own. */
export const KNATIVE = {
  MESH_TRANSPORT: 'knative',
  K_SINK: 'http://127.0.0.1:9/cabs/default',
  SHUTDOWN_GRACE: 'PT0.2S',
};
export const OTHERS = 'rides,geolocation,loyalty,invoicing,clients';

/** All pairs of a source and a target kind. */
export const PAIRS = DATABASES.flatMap((source) =>
  DATABASES.map((target) => ({ source, target, from: source.kind, to: target.kind })),
);

/** Moves a module. Throws at a point; at `copying`, which is reached once for each batch, the third time. */
export function move(from: string, to: string, { module = 'drivers', point }: { module?: string; point?: Point } = {}) {
  let times = 0;
  return extract({
    from,
    to,
    history: historyOf(module),
    sender: `usvc://cabs/${module}`,
    onPoint: (reached) => {
      if (reached === point && (reached !== 'copying' || ++times === 3)) throw new Error('Interrupted by the test');
    },
  });
}

/** Runs a script of this project in a process of its own. */
export async function run(
  script: string,
  args: string[],
  environment: Record<string, string> = {},
  flags: string[] = [],
) {
  const { NODE_OPTIONS: _, ...inherited } = process.env;
  const child = spawn(process.execPath, [...flags, '--import', 'tsx', script, ...args], {
    env: { ...inherited, ...environment },
  });
  let [output, errors] = ['', ''];
  child.stdout.on('data', (text) => (output += text));
  child.stderr.on('data', (text) => (errors += text));
  const [code, signal] = (await once(child, 'close')) as [number | null, string | null];
  return { code, signal, output, errors };
}

/** Runs statements, one after another. */
export async function write(url: string, ...statements: string[]): Promise<void> {
  const connection = await connect(url);
  for (const statement of statements) await connection.run(statement);
  await connection.close();
}

export async function read<Row>(url: string, statement: string): Promise<Row[]> {
  const connection = await connect(url);
  const rows = await connection.all<Row>(statement);
  await connection.close();
  return rows;
}

/** A command for the drivers module. */
export function calculateFee(id: string, transitId: string, driverId = 1): CloudEvent {
  return {
    specversion: '1.0',
    id,
    source: 'usvc://cabs/rides',
    type: 'cabs.drivers.calculate-fee',
    subject: transitId,
    partitionkey: transitId,
    data: { 'driver-id': driverId, 'transit-price': 5000 },
  };
}

const quoted = (value: object) => `'${JSON.stringify(value).replaceAll("'", "''")}'`;

export function delivery(consumer: string, event: CloudEvent, attempts = 0, dueAt = 1): string {
  return `INSERT INTO mesh_delivery (consumer, id, type, partition_key, event, created_at, attempts, due_at, last_error)
    VALUES ('${consumer}', '${event.id}', '${event.type}', 'k', ${quoted(event)}, 1, ${attempts}, ${dueAt}, 'Error: no')`;
}

export function deadLetter(id: string, consumer: string, event: CloudEvent): string {
  return `INSERT INTO mesh_dead_letter (id, consumer, event_id, type, event, attempts, cause, error, dead_at)
    VALUES ('${id}', '${consumer}', '${event.id}', '${event.type}', ${quoted(event)}, 11, 'Error', 'no', ${Date.now()})`;
}

export function inbox(consumer: string, id: string): string {
  return `INSERT INTO mesh_inbox (consumer, source, id, handled_at) VALUES ('${consumer}', 'usvc://cabs/rides', '${id}', 1)`;
}

export function outbox(from: string, id: string): string {
  const event = { ...calculateFee(id, 't'), source: `usvc://cabs/${from}`, type: 'cabs.drivers.driver-fee' };
  return `INSERT INTO mesh_outbox (id, source, type, partition_key, event, created_at)
    VALUES ('${id}', '${event.source}', '${event.type}', 't', ${quoted(event)}, 1)`;
}

/** Migrates all modules, and inserts rows of each kind for several of them, so that a test sees which rows stay. */
export async function populate(url: string): Promise<void> {
  await migrateDatabase(url, HISTORIES);
  const driver = (id: number, fee: string) =>
    `INSERT INTO drivers_driver (id, first_name, last_name, driver_license, status, fee)
     VALUES (${id}, 'Żaneta', 'O''Neill \\ "x"', 'AD9SS564564AA1ZZ', 'ACTIVE', ${fee})`;
  await write(
    url,
    driver(1, 'NULL'),
    driver(7, `'{"type":"flat","amount":300}'`),
    `INSERT INTO drivers_occupancy (driver_id, transit_id, state) VALUES (1, 'a', 'OCCUPIED'), (1, 'b', 'FREED')`,
    `INSERT INTO drivers_fee (transit_id, driver_id, price, fee) VALUES ('b', 1, 2147483647, 100)`,
    `INSERT INTO loyalty_account (client_id, active, transactions, opened_at) VALUES (1, true, 3, 'x'), (2, false, 0, 'y')`,
    `INSERT INTO loyalty_miles (transit_id, client_id, miles, granted_at, expires_at) VALUES ('b', 1, 10, 'x', NULL)`,
    `INSERT INTO geolocation_route (transit_id, address_id, distance_metres) VALUES ('b', 'w', 42000)`,
    `INSERT INTO geolocation_address (id, hash, address, latitude, longitude)
     VALUES ('w', -580606919, '{"city":"Łódź"}', 52.229676, 0.1), ('n', 1, '{}', NULL, NULL)`,
    ...['drivers', 'rides', 'loyalty', 'geolocation'].flatMap((module) => [
      inbox(module, 'handled'),
      delivery(module, calculateFee(`${module}-first`, 'c')),
      // A retry with jitter has a due time that is no integer.
      delivery(module, calculateFee(`${module}-retry`, 'd'), 3, Date.now() + 900.5),
      delivery(module, calculateFee(`${module}-second`, 'c')),
      deadLetter(`${module}-dead`, module, calculateFee(`${module}-died`, 'e')),
      deadLetter(`${module}-unsent`, 'k-sink', { ...calculateFee('u', 'f'), source: `usvc://cabs/${module}` }),
      outbox(module, `${module}-1`),
      outbox(module, `${module}-2`),
    ]),
    // On PostgreSQL an updated row is stored behind the others; its order by seq is the same.
    `UPDATE mesh_delivery SET created_at = 2 WHERE id LIKE '%-first'`,
    `INSERT INTO mesh_idempotency_key (idempotency_key, fingerprint, reply, created_at) VALUES ('key', 'f', '{}', 1)`,
  );
  // More rows than fit into one batch of the copy.
  const many = url.startsWith('sqlite:')
    ? `WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 700)`
    : `WITH numbers AS (SELECT generate_series(1, 700) AS n)`;
  await write(
    url,
    `${many.replace('WITH', 'INSERT INTO mesh_inbox (consumer, source, id, handled_at) WITH')}
     SELECT 'drivers', 'usvc://cabs/rides', 'h' || n, n FROM numbers`,
  );
}

/** All rows of a module in their order, in the same form for both kinds of databases. */
export async function rowsOfModule(url: string, module: string): Promise<Record<string, string[]>> {
  const connection = await connect(url);
  const list = url.startsWith('sqlite:')
    ? `SELECT name FROM sqlite_master WHERE type = 'table'`
    : `SELECT tablename AS name FROM pg_tables`;
  const tables = (await connection.all<{ name: string }>(list)).map(({ name }) => name);
  const own = tables.filter((name) => name.startsWith(`${module}_`) && name !== `${module}_migrations`);
  const isOwn = `consumer = '${module}' OR (consumer = 'k-sink' AND event LIKE '%usvc://cabs/${module}"%')`;
  const selects: [string, string][] = [
    ...own.sort().map((table): [string, string] => [table, `SELECT * FROM ${table}`]),
    ['inbox', `SELECT * FROM mesh_inbox WHERE consumer = '${module}'`],
    ['deliveries', `SELECT * FROM mesh_delivery WHERE consumer = '${module}' ORDER BY seq`],
    ['dead letters', `SELECT * FROM mesh_dead_letter WHERE ${isOwn}`],
    ['unsent', `SELECT * FROM mesh_outbox WHERE source = 'usvc://cabs/${module}' ORDER BY seq`],
  ];
  const found: Record<string, string[]> = {};
  for (const [name, select] of selects) {
    const rows = (await connection.all<Record<string, string | number | boolean | null>>(select)).map((row) => {
      const values = Object.entries(row).filter(([column]) => column !== 'seq');
      return JSON.stringify(
        values.map(([, it]) => (it === null ? null : String(typeof it === 'boolean' ? Number(it) : it))),
      );
    });
    found[name] = select.includes('ORDER BY') ? rows : rows.sort();
  }
  await connection.close();
  return found;
}
