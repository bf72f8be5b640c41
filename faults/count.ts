import { select, type Place } from './books.js';
import type { Deed, Entry, Ledger } from './ledger.js';

/** What the databases say of one ride. */
export interface Found {
  readonly status: string;
  /** Which of fee, freedom, miles and invoice the ride knows to be settled. */
  readonly settled: readonly string[];
  readonly fees: number;
  readonly miles: number;
  readonly invoices: number;
  /** Of its driver, by this ride. */
  readonly occupied: boolean;
  readonly clientId: number;
}

/** All that is counted, as it was found at rest. */
export interface Books {
  readonly rides: ReadonlyMap<string, Found>;
  /** Rides that something was written for, by what it was; also those that rides doesn't know. */
  readonly clients: ReadonlySet<string>;
  readonly drivers: ReadonlySet<string>;
  /** Transactions of each awards account, and those that are active. */
  readonly accounts: ReadonlyMap<string, number>;
  readonly active: ReadonlySet<string>;
  /** Messages in an outbox or a delivery, anywhere. */
  readonly waiting: readonly Message[];
  readonly dead: readonly Message[];
}

export interface Message {
  readonly type: string;
  readonly subject: string | null;
}

export interface Remark {
  readonly id: string;
  readonly what: string;
}

/** The outcome of a combination. Accepted and settled are rides that users were told to be over. */
export interface Verdict {
  readonly accepted: number;
  readonly settled: number;
  readonly lost: number;
  readonly duplicated: number;
  readonly dead: number;
  readonly stuck: number;
  /** What is wrong with which ride, client, driver or message. */
  readonly remarks: readonly Remark[];
}

const ORDER = [
  ...['DRAFT', 'WAITING_FOR_DRIVER_ASSIGNMENT', 'ACCEPTING', 'TRANSIT_TO_PASSENGER', 'IN_TRANSIT'],
  ...['COMPLETING', 'COMPLETED'],
];
/** How far a ride has to be at least when a deed was accepted. */
const LEADS_TO: Partial<Record<Deed, string>> = {
  ...{ request: 'DRAFT', publish: 'WAITING_FOR_DRIVER_ASSIGNMENT', accept: 'ACCEPTING' },
  ...{ start: 'IN_TRANSIT', complete: 'COMPLETING' },
};
const EFFECTS = ['fees', 'miles', 'invoices'] as const;
const SETTLED = ['driver_fee', 'driver_freed', 'miles', 'invoice'];

/** Compares what was promised with what there is. */
export function count(ledger: Pick<Ledger, 'entries' | 'asked'>, books: Books): Verdict {
  const lost = ledger.entries
    .filter((it) => isLost(it, books))
    .map(({ deed, id }) => ({ id, what: `${deed} is lost` }));
  const accepted = new Set(ledger.entries.filter(({ deed }) => deed === 'complete').map(({ id }) => id));
  const [duplicated, stuck]: Remark[][] = [[], []];
  let settled = 0;
  for (const [id, ride] of books.rides) {
    const isOver = ride.status === 'COMPLETED';
    const doubled = EFFECTS.filter((it) => ride[it] > (isOver ? 1 : 0)).map((it) => `${ride[it]} ${it}`);
    if (doubled.length > 0) duplicated!.push({ id, what: `${doubled.join(', ')} (${ride.status})` });
    const missing = missingOf(ride, books);
    if (missing.length > 0) stuck!.push({ id, what: missing.join(', ') });
    else if (accepted.has(id) && isOver && doubled.length === 0) settled++;
  }
  for (const [client, transactions] of books.accounts) {
    const owed = [...books.rides.values()].filter((it) => String(it.clientId) === client && it.miles > 0).length;
    if (transactions > owed)
      duplicated!.push({ id: `client ${client}`, what: `${transactions} transactions, not ${owed}` });
    if (transactions < owed) stuck!.push({ id: `client ${client}`, what: `${transactions} transactions, not ${owed}` });
  }
  for (const { type, subject } of books.waiting) stuck!.push({ id: subject ?? '?', what: `${type} has not arrived` });
  for (const { type, subject } of books.dead) stuck!.push({ id: subject ?? '?', what: `${type} is a dead letter` });
  return {
    ...{ accepted: accepted.size, settled, dead: books.dead.length, lost: distinct(lost) },
    ...{ duplicated: distinct(duplicated!), stuck: distinct(stuck!), remarks: [...lost, ...duplicated!, ...stuck!] },
  };
}

function distinct(remarks: readonly Remark[]): number {
  return new Set(remarks.map(({ id }) => id)).size;
}

function isLost({ deed, id }: Entry, { rides, clients, drivers, accounts, active }: Books): boolean {
  if (deed === 'client') return !clients.has(id);
  if (deed === 'driver') return !drivers.has(id);
  if (deed === 'account') return !accounts.has(id);
  if (deed === 'activated') return !active.has(id);
  return ORDER.indexOf(rides.get(id)?.status ?? '') < ORDER.indexOf(LEADS_TO[deed]!);
}

/** What a ride waits for although nothing is on its way any more. */
function missingOf(ride: Found, { accounts, active }: Books): string[] {
  if (ride.status === 'COMPLETING' || ride.status === 'ACCEPTING') return [`it is ${ride.status}`];
  if (ride.status !== 'COMPLETED') return [];
  const client = String(ride.clientId);
  const collects = accounts.has(client) && active.has(client);
  return [
    ...SETTLED.filter((it) => !ride.settled.includes(it)).map((it) => `${it} is not settled`),
    ...(ride.fees === 0 ? ['no fee'] : []),
    ...(ride.invoices === 0 ? ['no invoice'] : []),
    ...(ride.miles === 0 && collects ? ['no miles'] : []),
    ...(ride.occupied ? ['its driver is not free'] : []),
  ];
}

interface TransitRow {
  readonly id: string;
  readonly status: string;
  readonly client_id: number;
  readonly driver_fee_settled: string;
  readonly driver_freed_settled: string;
  readonly miles_settled: string;
  readonly invoice_settled: string;
}

/** Reads all that is counted. @throws Error when a database can't be read */
export async function readBooks(modules: readonly Place[], all: readonly Place[]): Promise<Books> {
  const counts = async (table: string) => {
    const rows = await select<{ id: string; n: number | string }>(
      modules,
      `SELECT transit_id AS id, COUNT(*) AS n FROM ${table} GROUP BY transit_id`,
    );
    return new Map(rows.map(({ id, n }) => [id, Number(n)]));
  };
  const ids = async (statement: string) =>
    new Set((await select<{ id: number }>(modules, statement)).map(({ id }) => String(id)));
  const messages = (table: string) => select<{ type: string; event: string }>(all, `SELECT type, event FROM ${table}`);
  const [fees, miles, invoices] = [
    await counts('drivers_fee'),
    await counts('loyalty_miles'),
    await counts('invoicing_invoice'),
  ];
  const occupied = await ids(`SELECT transit_id AS id FROM drivers_occupancy WHERE state = 'OCCUPIED'`);
  const transits = await select<TransitRow>(modules, 'SELECT * FROM rides_transit');
  const accounts = await select<{ client_id: number; active: unknown; transactions: number }>(
    modules,
    'SELECT client_id, active, transactions FROM loyalty_account',
  );
  const found = (row: TransitRow): Found => ({
    ...{ status: row.status, clientId: row.client_id, occupied: occupied.has(row.id) },
    settled: SETTLED.filter((it) => row[`${it}_settled` as keyof TransitRow] === 'settled'),
    ...{ fees: fees.get(row.id) ?? 0, miles: miles.get(row.id) ?? 0, invoices: invoices.get(row.id) ?? 0 },
  });
  return {
    rides: new Map(transits.map((row) => [row.id, found(row)])),
    clients: await ids('SELECT id FROM clients_client'),
    drivers: await ids('SELECT id FROM drivers_driver'),
    accounts: new Map(accounts.map((it) => [String(it.client_id), it.transactions])),
    active: new Set(accounts.filter((it) => it.active).map((it) => String(it.client_id))),
    waiting: [...(await messages('mesh_outbox')), ...(await messages('mesh_delivery'))].map(subjectOf),
    dead: (await messages('mesh_dead_letter')).map(subjectOf),
  };
}

function subjectOf({ type, event }: { type: string; event: string }): Message {
  return { type, subject: (JSON.parse(event) as { subject?: string }).subject ?? null };
}
