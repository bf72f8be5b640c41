import { select, type Place } from './databases.js';
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
  /** All that was handled in each database, in the order of handling. */
  readonly handlings: readonly Handling[];
}

export interface Message {
  readonly type: string;
  readonly subject: string | null;
}

/** A message that a consumer has handled, as the agent has noted it in the consumer's own unit of work. */
export interface Handling extends Message {
  readonly consumer: string;
  readonly event_id: string;
  readonly partition_key: string;
  /** The message in whose handling it was sent, if any. */
  readonly cause: string | null;
  /** Tries that had failed before; null where a broker brought it. */
  readonly attempts: number | null;
}

/** The notes of the agent. `place` tells their order, and there is no other key: what was handled twice is there twice. */
export const NOTES = { sqlite: notes('integer PRIMARY KEY AUTOINCREMENT'), postgres: notes('bigserial') };

function notes(place: string): string {
  return `CREATE TABLE faults_handled (
    place ${place}, consumer text, event_id text, type text, subject text, partition_key text, cause text, attempts integer
  )`;
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
  /** Messages that were handled before others of their key which had been sent earlier. */
  readonly disordered: number;
  /** What is wrong with which ride, client, driver or message. */
  readonly remarks: readonly Remark[];
}

const ORDER = [
  'DRAFT',
  'WAITING_FOR_DRIVER_ASSIGNMENT',
  'ACCEPTING',
  'TRANSIT_TO_PASSENGER',
  'IN_TRANSIT',
  'COMPLETING',
  'COMPLETED',
];
/** How far a ride has to be at least when a deed was accepted. */
const LEADS_TO: Partial<Record<Deed, string>> = {
  request: 'DRAFT',
  publish: 'WAITING_FOR_DRIVER_ASSIGNMENT',
  accept: 'ACCEPTING',
  start: 'IN_TRANSIT',
  complete: 'COMPLETING',
};
const EFFECTS = ['fees', 'miles', 'invoices'] as const;
const SETTLED = ['driver_fee', 'driver_freed', 'miles', 'invoice'];
const COMPLETE = 'cabs.rides.complete-transit';
/** What has to be handled for a ride until it is settled. */
const NEEDED = [
  COMPLETE,
  'cabs.drivers.calculate-fee',
  'cabs.drivers.driver-fee',
  'cabs.drivers.driver-free',
  'cabs.drivers.driver-freed',
  'cabs.loyalty.register-miles',
  'cabs.loyalty.miles-registered',
  'cabs.invoicing.issue-invoice',
  'cabs.invoicing.invoice-issued',
];

/** Compares what was promised with what there is. */
export function count(ledger: Pick<Ledger, 'entries' | 'asked'>, books: Books): Verdict {
  const lost = ledger.entries
    .filter((it) => isLost(it, books))
    .map(({ deed, id }) => ({ id, what: `${deed} is lost` }));
  const accepted = new Set(ledger.entries.filter(({ deed }) => deed === 'complete').map(({ id }) => id));
  const duplicated = handledTwice(books.handlings);
  const disordered = overtaken(books.handlings);
  const stuck: Remark[] = [];
  const handled = groupBy(books.handlings, ({ subject }) => subject);
  let settled = 0;
  for (const [id, ride] of books.rides) {
    const isOver = ride.status === 'COMPLETED';
    const doubled = EFFECTS.filter((it) => ride[it] > (isOver ? 1 : 0)).map((it) => `${ride[it]} ${it}`);
    if (doubled.length > 0) duplicated.push({ id, what: `${doubled.join(', ')} (${ride.status})` });
    const missing = missingOf(ride, books);
    // Without these notes nobody would see what was handled twice.
    const unseen = isOver ? NEEDED.filter((it) => !handled.get(id)?.some(({ type }) => type === it)) : [];
    missing.push(...unseen.map((it) => `nobody has handled ${it}`));
    if (missing.length > 0) stuck.push({ id, what: missing.join(', ') });
    else if (accepted.has(id) && isOver && doubled.length === 0) settled++;
  }
  for (const [client, transactions] of books.accounts) {
    const owed = [...books.rides.values()].filter((it) => String(it.clientId) === client && it.miles > 0).length;
    if (transactions > owed)
      duplicated.push({ id: `client ${client}`, what: `${transactions} transactions, not ${owed}` });
    if (transactions < owed) stuck.push({ id: `client ${client}`, what: `${transactions} transactions, not ${owed}` });
  }
  for (const { type, subject } of books.waiting) stuck.push({ id: subject ?? '?', what: `${type} has not arrived` });
  for (const { type, subject } of books.dead) stuck.push({ id: subject ?? '?', what: `${type} is a dead letter` });
  return {
    accepted: accepted.size,
    settled,
    dead: books.dead.length,
    lost: distinct(lost),
    duplicated: distinct(duplicated),
    stuck: distinct(stuck),
    disordered: disordered.length,
    remarks: [...lost, ...duplicated, ...stuck, ...disordered],
  };
}

/** Messages that a consumer has handled more than once, and rides that were told to be over by more than one message. */
function handledTwice(handlings: readonly Handling[]): Remark[] {
  const same = groupBy(handlings, ({ consumer, event_id }) => `${consumer} ${event_id}`);
  const twice = [...same.values()].filter(({ length }) => length > 1);
  const completing = handlings.filter(({ type }) => type === COMPLETE);
  const told = groupBy(completing, ({ subject }) => subject);
  const messages = (them: readonly Handling[]) => new Set(them.map(({ event_id }) => event_id)).size;
  // Users ask again with the same key: that is one message, however often it is said.
  const again = [...told].filter(([, them]) => messages(them) > 1);
  return [
    ...twice.map((them) => {
      const { consumer, type, subject, event_id } = them[0]!;
      return { id: subject ?? '?', what: `${consumer} has handled ${type} ${event_id} ${them.length} times` };
    }),
    ...again.map(([subject, them]) => ({ id: subject ?? '?', what: `${messages(them)} messages ${COMPLETE}` })),
  ];
}

/**
 * Messages that were handled before one which the same unit of work had sent earlier, with the same key to the same
 * consumer. The ids tell: they rise within a process, whatever its clock does. What had failed before may be late, and a
 * broker promises no order.
 */
function overtaken(handlings: readonly Handling[]): Remark[] {
  const inOrder = handlings.filter(({ cause, attempts }) => cause !== null && attempts === 0);
  const together = groupBy(inOrder, ({ consumer, partition_key, cause }) => `${consumer} ${partition_key} ${cause}`);
  return [...together.values()].flatMap((them) =>
    them.slice(1).flatMap(({ consumer, type, event_id, subject }, index) => {
      const before = them[index]!;
      if (event_id >= before.event_id) return [];
      return {
        id: subject ?? '?',
        what: `${consumer} has handled ${before.type} before ${type}, which was sent earlier`,
      };
    }),
  );
}

function groupBy<Item, Key>(items: readonly Item[], keyOf: (item: Item) => Key): Map<Key, Item[]> {
  const groups = new Map<Key, Item[]>();
  for (const item of items) {
    const key = keyOf(item);
    const group = groups.get(key);
    if (group) group.push(item);
    else groups.set(key, [item]);
  }
  return groups;
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
    status: row.status,
    clientId: row.client_id,
    occupied: occupied.has(row.id),
    settled: SETTLED.filter((it) => row[`${it}_settled` as keyof TransitRow] === 'settled'),
    fees: fees.get(row.id) ?? 0,
    miles: miles.get(row.id) ?? 0,
    invoices: invoices.get(row.id) ?? 0,
  });
  return {
    rides: new Map(transits.map((row) => [row.id, found(row)])),
    clients: await ids('SELECT id FROM clients_client'),
    drivers: await ids('SELECT id FROM drivers_driver'),
    accounts: new Map(accounts.map((it) => [String(it.client_id), it.transactions])),
    active: new Set(accounts.filter((it) => it.active).map((it) => String(it.client_id))),
    waiting: [...(await messages('mesh_outbox')), ...(await messages('mesh_delivery'))].map(subjectOf),
    dead: (await messages('mesh_dead_letter')).map(subjectOf),
    handlings: await select<Handling>(modules, 'SELECT * FROM faults_handled ORDER BY place'),
  };
}

function subjectOf({ type, event }: { type: string; event: string }): Message {
  return { type, subject: (JSON.parse(event) as { subject?: string }).subject ?? null };
}
