import { setTimeout as wait } from 'node:timers/promises';
import type { Database } from 'better-sqlite3';
import type { Ledgers, UnderWay } from '../runner/fixtures.js';
import type { Step } from '../runner/steps.js';

/** What a ride has left behind, read from the databases of those who own it. */
export interface Trace {
  readonly isCompleted: boolean;
  readonly hasFee: boolean;
  readonly isDriverFree: boolean;
  readonly miles: number;
  readonly invoices: number;
}

/** Counts of effects, over many rides. */
export interface Effects {
  /** Effects that completed rides lack: fee, freedom of the driver, miles, invoice. */
  readonly missing: number;
  /** Invoices and miles beyond the first of a ride. */
  readonly duplicated: number;
}

/** Rows of a table by the transit or the client that they belong to. */
function rowsBy(db: Database, query: string): Map<string | number, Record<string, string | number | null>> {
  const rows = db.prepare(query).all() as Record<string, string | number | null>[];
  return new Map(rows.map((row) => [row.key!, row]));
}

/** @returns the traces of rides, by their ids */
export function tracesOf(ledgers: Ledgers, rides: readonly UnderWay[]): Map<string, Trace> {
  const isLegacy = ledgers.step.tables === 'legacy';
  const transits = rowsBy(ledgers.of('rides'), 'SELECT id AS key, status, driver_fee FROM rides_transit');
  const busy = rowsBy(
    ledgers.of('drivers'),
    isLegacy
      ? 'SELECT id AS key FROM drivers_driver WHERE occupied'
      : `SELECT driver_id AS key FROM drivers_occupancy WHERE state = 'OCCUPIED'`,
  );
  const invoices = rowsBy(
    ledgers.of('invoicing'),
    'SELECT transit_id AS key, COUNT(*) AS n FROM invoicing_invoice GROUP BY transit_id',
  );
  const miles = rowsBy(
    ledgers.of('loyalty'),
    'SELECT transit_id AS key, COUNT(*) AS n FROM loyalty_miles GROUP BY transit_id',
  );
  // Where a key keeps out a second row of miles, the account would still have counted it. Each client has one ride.
  const accounts = rowsBy(ledgers.of('loyalty'), 'SELECT client_id AS key, transactions AS n FROM loyalty_account');
  const trace = ({ id, driverId, clientId }: UnderWay): Trace => ({
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

/** A ride that is over with all that follows from it. */
export function isWhole(trace: Trace): boolean {
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

/** Nothing more happens when nothing has been committed for so long, and no message is on its way; in ms. */
const QUIET_MS = 700;
const LONGEST_MS = 90_000;

/** Waits until a step has come to rest. @returns whether it has */
export async function comeToRest(step: Step, ledgers: Ledgers): Promise<boolean> {
  const deadline = Date.now() + LONGEST_MS;
  let [version, since] = ['', Date.now()];
  while (Date.now() < deadline) {
    const now = ledgers.version();
    if (now !== version || messagesWaiting(step, ledgers) > 0) [version, since] = [now, Date.now()];
    if (Date.now() - since >= (step.quietMs ?? QUIET_MS)) return true;
    await wait(50);
  }
  return false;
}

/** Messages on their way, wherever the step keeps them. */
function messagesWaiting(step: Step, ledgers: Ledgers): number {
  let waiting = 0;
  for (const [database, tables] of Object.entries(step.waiting)) {
    for (const table of tables) {
      const db = ledgers.named(database);
      if ((db.pragma(`table_info('${table}')`) as object[]).length === 0) continue;
      waiting += (db.prepare(`SELECT COUNT(*) AS n FROM ${table}`).get() as { n: number }).n;
    }
  }
  return waiting;
}

/**
 * From now on, each message arrives twice: its row comes back once after it has been removed, as if whoever removed it had
 * died between handing it over and saying so. @returns ends that
 */
export function deliverTwice({ deliveries }: Step, ledgers: Ledgers): () => void {
  const { database, table } = deliveries!;
  const db = ledgers.named(database);
  if ((db.pragma(`table_info('${table}')`) as object[]).length === 0) {
    throw new Error(`There is no table ${table} in the database: it has to keep its name.`);
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
