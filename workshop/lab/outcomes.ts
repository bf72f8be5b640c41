import { setTimeout as wait } from 'node:timers/promises';
import type { Database } from 'better-sqlite3';
import type { RideFixture } from '../runner/fixtures.js';
import type { StepDatabases } from '../runner/step-databases.js';
import type { Step } from '../runner/steps.js';

/** The effects of a ride, read from the databases of their owners. */
export interface Trace {
  readonly isCompleted: boolean;
  readonly hasFee: boolean;
  readonly isDriverFree: boolean;
  readonly miles: number;
  readonly invoices: number;
}

/** Counts of effects over many rides. */
export interface Effects {
  /** Effects that completed rides lack: the driver's fee, the free driver, miles, invoice. */
  readonly missing: number;
  /** Invoices and miles beyond the first of a ride. */
  readonly duplicated: number;
}

/** The rows of a query, by their column `key`. */
function rowsBy(db: Database, query: string): Map<string | number, Record<string, string | number | null>> {
  const rows = db.prepare(query).all() as Record<string, string | number | null>[];
  return new Map(rows.map((row) => [row.key!, row]));
}

/** @returns the traces of rides, by their ids */
export function tracesOf(databases: StepDatabases, rides: readonly RideFixture[]): Map<string, Trace> {
  const isLegacy = databases.step.tables === 'legacy';
  const transits = rowsBy(databases.of('rides'), 'SELECT id AS key, status, driver_fee FROM rides_transit');
  const busy = rowsBy(
    databases.of('drivers'),
    isLegacy
      ? 'SELECT id AS key FROM drivers_driver WHERE occupied'
      : `SELECT driver_id AS key FROM drivers_occupancy WHERE state = 'OCCUPIED'`,
  );
  const invoices = rowsBy(
    databases.of('invoicing'),
    'SELECT transit_id AS key, COUNT(*) AS n FROM invoicing_invoice GROUP BY transit_id',
  );
  const miles = rowsBy(
    databases.of('loyalty'),
    'SELECT transit_id AS key, COUNT(*) AS n FROM loyalty_miles GROUP BY transit_id',
  );
  // A primary key may refuse a second row of miles, but the account would still count it. Each client has one ride.
  const accounts = rowsBy(databases.of('loyalty'), 'SELECT client_id AS key, transactions AS n FROM loyalty_account');
  const trace = ({ id, driverId, clientId }: RideFixture): Trace => ({
    isCompleted: transits.get(id)?.status === 'COMPLETED',
    hasFee: transits.get(id)?.driver_fee !== null,
    isDriverFree: !busy.has(driverId),
    miles: Math.max(Number(miles.get(id)?.n ?? 0), Number(accounts.get(clientId)?.n ?? 0)),
    invoices: Number(invoices.get(id)?.n ?? 0),
  });
  return new Map(rides.map((ride) => [ride.id, trace(ride)]));
}

function missingOf({ isCompleted, hasFee, isDriverFree, miles, invoices }: Trace): number {
  return isCompleted ? [hasFee, isDriverFree, miles > 0, invoices > 0].filter((it) => !it).length : 0;
}

/** Whether a ride is completed and has all its effects. */
export function isSettled(trace: Trace): boolean {
  return trace.isCompleted && missingOf(trace) === 0;
}

export function effectsOf(traces: Iterable<Trace>): Effects {
  let [missing, duplicated] = [0, 0];
  for (const trace of traces) {
    missing += missingOf(trace);
    duplicated += Math.max(0, trace.invoices - 1) + Math.max(0, trace.miles - 1);
  }
  return { missing, duplicated };
}

/** A step is at rest when nothing was committed for this long and no message is waiting, in ms. */
const QUIET_MS = 700;
const POLL_MS = 50;
/** Longest wait for a step to come to rest, in ms. */
const MAX_REST_MS = 90_000;

/**
 * Waits until a step has come to rest. Counts polls instead of time: on a busy machine the polls come late too, which
 * gives the step the time that it lacks.
 * @returns false when the step did not come to rest in time
 */
export async function comeToRest(step: Step, databases: StepDatabases): Promise<boolean> {
  const deadline = Date.now() + MAX_REST_MS;
  const enough = Math.ceil((step.quietMs ?? QUIET_MS) / POLL_MS);
  let [version, quietPolls] = ['', 0];
  while (Date.now() < deadline) {
    const now = databases.version();
    const isQuiet = now === version && messagesWaiting(step, databases) === 0;
    quietPolls = isQuiet ? quietPolls + 1 : 0;
    version = now;
    if (quietPolls >= enough) return true;
    await wait(POLL_MS);
  }
  return false;
}

/** Messages that are stored and not handled yet. */
function messagesWaiting(step: Step, databases: StepDatabases): number {
  let waiting = 0;
  for (const [database, tables] of Object.entries(step.waiting)) {
    for (const table of tables) {
      const db = databases.named(database);
      if ((db.pragma(`table_info('${table}')`) as object[]).length === 0) continue;
      waiting += (db.prepare(`SELECT COUNT(*) AS n FROM ${table}`).get() as { n: number }).n;
    }
  }
  return waiting;
}

/**
 * Makes each message arrive twice: a trigger inserts its row again when it is deleted for the first time, as if the
 * process had crashed between handling the message and deleting the row.
 * @returns a function that ends this
 */
export function deliverTwice({ deliveries }: Step, databases: StepDatabases): () => void {
  const { database, table } = deliveries!;
  const db = databases.named(database);
  if ((db.pragma(`table_info('${table}')`) as object[]).length === 0) {
    throw new Error(`The database ${database} has no table ${table}: keep its name, because the lab needs it.`);
  }
  const columns = (db.prepare(`SELECT name FROM pragma_table_info('${table}') WHERE name <> 'seq'`).all() as Named[])
    .map(({ name }) => name)
    .join(', ');
  const old = columns.replace(/\w+/g, 'OLD.$&');
  const consumer = columns.includes('consumer') ? 'OLD.consumer' : `''`;
  db.exec(`
    CREATE TABLE IF NOT EXISTS lab_delivered (id text, consumer text, PRIMARY KEY (id, consumer));
    CREATE TRIGGER lab_twice AFTER DELETE ON ${table}
    WHEN NOT EXISTS (SELECT 1 FROM lab_delivered WHERE id = OLD.id AND consumer = ${consumer})
    BEGIN
      INSERT INTO lab_delivered VALUES (OLD.id, ${consumer});
      INSERT INTO ${table} (${columns}) VALUES (${old});
    END`);
  return () => db.exec('DROP TRIGGER lab_twice');
}

interface Named {
  readonly name: string;
}
