import { select, type NamedDatabase } from './databases.js';
import type { Handling, Message } from './handlings.js';

/** The state of one transit, as all modules store it. */
export interface TransitState {
  readonly status: string;
  /** The parts of the settlement that the transit knows to be settled, see SETTLEMENT. */
  readonly settled: readonly string[];
  readonly fees: number;
  readonly miles: number;
  readonly invoices: number;
  /** Whether this transit still occupies its driver. */
  readonly occupied: boolean;
  readonly clientId: number;
}

/** The contents of all databases, read when no message is in flight. */
export interface DatabaseContents {
  /** By transit id. */
  readonly transits: ReadonlyMap<string, TransitState>;
  readonly clients: ReadonlySet<string>;
  readonly drivers: ReadonlySet<string>;
  /** Number of transactions of each awards account, by client id. */
  readonly accounts: ReadonlyMap<string, number>;
  /** Client ids of the active awards accounts. */
  readonly active: ReadonlySet<string>;
  /** Messages left in an outbox or a delivery table. */
  readonly pending: readonly Message[];
  readonly deadLetters: readonly Message[];
  /** Handlings in the order in which each database stored them. */
  readonly handlings: readonly Handling[];
}

/** The parts of a settlement: `<part>_settled` are columns of rides_transit. */
export const SETTLEMENT = ['driver_fee', 'driver_freed', 'miles', 'invoice'] as const;

interface TransitRow extends Record<`${(typeof SETTLEMENT)[number]}_settled`, string> {
  readonly id: string;
  readonly status: string;
  readonly client_id: number;
}

/** Reads everything that is counted. @throws Error when a database can't be read */
export async function readDatabases(
  moduleDatabases: readonly NamedDatabase[],
  allDatabases: readonly NamedDatabase[],
): Promise<DatabaseContents> {
  const counts = async (table: string) => {
    const rows = await select<{ id: string; n: number | string }>(
      moduleDatabases,
      `SELECT transit_id AS id, COUNT(*) AS n FROM ${table} GROUP BY transit_id`,
    );
    return new Map(rows.map(({ id, n }) => [id, Number(n)]));
  };
  const ids = async (statement: string) =>
    new Set((await select<{ id: number }>(moduleDatabases, statement)).map(({ id }) => String(id)));
  const messages = async (table: string) => {
    const rows = await select<{ type: string; event: string }>(allDatabases, `SELECT type, event FROM ${table}`);
    return rows.map(({ type, event }): Message => {
      return { type, subject: (JSON.parse(event) as { subject?: string }).subject ?? null };
    });
  };
  const fees = await counts('drivers_fee');
  const miles = await counts('loyalty_miles');
  const invoices = await counts('invoicing_invoice');
  const occupied = await ids(`SELECT transit_id AS id FROM drivers_occupancy WHERE state = 'OCCUPIED'`);
  const transits = await select<TransitRow>(moduleDatabases, 'SELECT * FROM rides_transit');
  const accounts = await select<{ client_id: number; active: unknown; transactions: number }>(
    moduleDatabases,
    'SELECT client_id, active, transactions FROM loyalty_account',
  );
  const stateOf = (row: TransitRow): TransitState => ({
    status: row.status,
    clientId: row.client_id,
    occupied: occupied.has(row.id),
    settled: SETTLEMENT.filter((it) => row[`${it}_settled`] === 'settled'),
    fees: fees.get(row.id) ?? 0,
    miles: miles.get(row.id) ?? 0,
    invoices: invoices.get(row.id) ?? 0,
  });
  return {
    transits: new Map(transits.map((row) => [row.id, stateOf(row)])),
    clients: await ids('SELECT id FROM clients_client'),
    drivers: await ids('SELECT id FROM drivers_driver'),
    accounts: new Map(accounts.map((it) => [String(it.client_id), it.transactions])),
    active: new Set(accounts.filter((it) => it.active).map((it) => String(it.client_id))),
    pending: [...(await messages('mesh_outbox')), ...(await messages('mesh_delivery'))],
    deadLetters: await messages('mesh_dead_letter'),
    handlings: await select<Handling>(moduleDatabases, 'SELECT * FROM faults_handled ORDER BY seq'),
  };
}
