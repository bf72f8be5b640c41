import BetterSqlite3, { type Database } from 'better-sqlite3';
import { DEMO_CLIENT, DEMO_DRIVER, DEMO_RIDE, PICKUP, PLANNED } from '../../src/demo.js';
import type { Fee } from '../../src/modules/drivers/driver.js';
import { addressId } from '../../src/modules/geolocation/contract.js';
import { addressHash } from '../../src/modules/geolocation/distance.js';
import { chooseTariff, priceCents, type LocalTime } from '../../src/modules/rides/tariff.js';
import { OWNERS, tablesOf, type Owner } from '../shared/schema.js';
import type { Step } from './steps.js';

/** A ride that is under way, with a driver and a client of its own. */
export interface UnderWay {
  readonly id: string;
  readonly driverId: number;
  readonly fee: Fee | null;
  readonly clientId: number;
  readonly clientName: string;
  /** Whether the client collects miles; null without an account. */
  readonly collects: boolean | null;
  /** When it started, on the clock that chooses the tariff. */
  readonly started: LocalTime;
  readonly status: 'IN_TRANSIT' | 'TRANSIT_TO_PASSENGER';
}

const TUESDAY_EVENING: LocalTime = { month: 2, day: 4, weekday: 2, hour: 17 };
const SATURDAY_NIGHT: LocalTime = { month: 2, day: 8, weekday: 6, hour: 22 };
const STARTED_AT = '2025-02-04T16:48:00.000Z';

/** The demo's: Bob Falc is driving John Doe. */
export const DEMO: UnderWay = {
  ...{ id: DEMO_RIDE, driverId: DEMO_DRIVER, fee: { type: 'percentage', amount: 480, min: 1000 } },
  ...{ clientId: DEMO_CLIENT.id, clientName: `${DEMO_CLIENT.name} ${DEMO_CLIENT.lastName}`, collects: true },
  ...{ started: TUESDAY_EVENING, status: 'IN_TRANSIT' },
};

const extra = (n: number, differs: Partial<UnderWay>): UnderWay => ({
  ...DEMO,
  ...{ id: `0b9e5a4c-8d8f-4c1e-9a57-00000000000${n}`, driverId: DEMO_DRIVER + n, clientId: 100 + n },
  ...{ clientName: `Passenger ${n}`, ...differs },
});

/** Rides beside the demo's that the acceptance tests need, each for one of its own. */
export const ACCEPTANCE = {
  weekend: extra(1, { started: SATURDAY_NIGHT, fee: null }),
  withoutAccount: extra(2, { collects: null }),
  inactiveAccount: extra(3, { collects: false }),
  notStarted: extra(4, { status: 'TRANSIT_TO_PASSENGER' }),
  planned: extra(5, { fee: { type: 'flat', amount: 700 } }),
  repeated: extra(6, {}),
} as const;

/** Rides for the lab. @param run tells apart those of different runs on the same databases; below 1000 */
export function manyRides(run: number, howMany: number): UnderWay[] {
  return Array.from({ length: howMany }, (_, index) => {
    const number = run * 100_000 + index;
    const id = `00000000-0000-4000-8000-${String(number).padStart(12, '0')}`;
    return {
      ...DEMO,
      id,
      driverId: 1_000_000_000 + number,
      clientId: 1_000_000_000 + number,
      clientName: `P ${number}`,
    };
  });
}

/** The databases of a step, to write into and to count in, by the names of its owners. */
export class Ledgers {
  private readonly open = new Map<string, Database>();

  constructor(
    readonly step: Pick<Step, 'database' | 'tables'>,
    private readonly pathOf: (name: string) => string,
  ) {}

  of(owner: Owner): Database {
    return this.named(this.step.database(owner));
  }

  named(name: string): Database {
    const path = this.pathOf(name);
    let db = this.open.get(path);
    if (!db) {
      db = new BetterSqlite3(path, { timeout: 10_000 });
      db.pragma('journal_mode = WAL');
      // Of the application's own writes nothing is relaxed; these are only the lab's.
      db.pragma('synchronous = NORMAL');
      this.open.set(path, db);
    }
    return db;
  }

  /** Changes whenever somebody else has committed something to one of them. */
  version(): string {
    return [...this.open.values()].map((db) => db.pragma('data_version', { simple: true })).join();
  }

  close(): void {
    for (const db of this.open.values()) db.close();
    this.open.clear();
  }
}

/** Makes the tables that the legacy application left behind. The modules of src/ make their own. */
export function makeLegacyTables(ledgers: Ledgers): void {
  for (const owner of OWNERS) {
    for (const statement of tablesOf(owner)) ledgers.of(owner).exec(statement);
  }
}

/** Rows of one table. */
export interface Rows {
  readonly owner: Owner;
  readonly table: string;
  readonly rows: readonly Record<string, string | number | null>[];
}

/** What the owners have of rides that are under way. */
export function rowsUnderWay(rides: readonly UnderWay[], tables: Step['tables']): Rows[] {
  const isLegacy = tables === 'legacy';
  const addresses = [PICKUP, PLANNED].map((it) => ({
    ...{ id: addressId(it), hash: addressHash(it), address: JSON.stringify(it) },
  }));
  const drivers = rides.map(({ driverId, fee }) => ({
    ...{ id: driverId, first_name: 'Bob', last_name: 'Falc', status: 'ACTIVE', fee: fee && JSON.stringify(fee) },
    ...(isLegacy ? { occupied: 1 } : { driver_license: 'AD9SS564564AA1ZZ' }),
  }));
  const occupied = rides.map(({ id, driverId }) => ({ driver_id: driverId, transit_id: id, state: 'OCCUPIED' }));
  const accounts = rides.filter(({ collects }) => collects !== null);
  return [
    { owner: 'geolocation', table: 'geolocation_address', rows: addresses },
    { owner: 'rides', table: 'rides_transit', rows: rides.map(isLegacy ? legacyRide : moduleRide) },
    { owner: 'drivers', table: 'drivers_driver', rows: drivers },
    ...(isLegacy ? [] : [{ owner: 'drivers', table: 'drivers_occupancy', rows: occupied } as const]),
    {
      ...{ owner: 'loyalty', table: 'loyalty_account' },
      rows: accounts.map(({ clientId, collects }) => ({
        ...{ client_id: clientId, active: Number(collects), transactions: 0 },
        ...(!isLegacy && { opened_at: STARTED_AT }),
      })),
    },
  ];
}

/** Puts rides under way, unless they are. */
export function putUnderWay(ledgers: Ledgers, rides: readonly UnderWay[]): void {
  for (const { owner, table, rows } of rowsUnderWay(rides, ledgers.step.tables)) {
    const columns = Object.keys(rows[0] ?? {});
    if (columns.length === 0) continue;
    const db = ledgers.of(owner);
    const statement = db.prepare(
      `INSERT OR IGNORE INTO ${table} (${columns.join(', ')}) VALUES (${columns.map((it) => `@${it}`).join(', ')})`,
    );
    db.transaction(() => rows.forEach((row) => statement.run(row))).immediate();
  }
}

function legacyRide({ id, status, clientId, clientName, driverId, started }: UnderWay) {
  return {
    ...{ id, status, client_id: clientId, client_name: clientName, driver_id: driverId },
    ...{ pickup_id: addressId(PICKUP), pickup: JSON.stringify(PICKUP), destination_id: addressId(PLANNED) },
    ...{ destination: JSON.stringify(PLANNED), distance_metres: 42_000, tariff: JSON.stringify(chooseTariff(started)) },
    started_at: status === 'IN_TRANSIT' ? STARTED_AT : null,
  };
}

function moduleRide(ride: UnderWay) {
  const estimate = priceCents(42_000, chooseTariff(ride.started));
  const before = { requested_at: STARTED_AT, published_at: STARTED_AT, accepted_at: STARTED_AT };
  return { ...legacyRide(ride), car_class: 'REGULAR', estimated_price: estimate, ...before };
}
