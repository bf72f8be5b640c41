import { DEMO_CLIENT, DEMO_DRIVER, DEMO_RIDE, PICKUP, PLANNED } from '../../src/demo.js';
import type { Fee } from '../../src/modules/drivers/driver.js';
import { addressId } from '../../src/modules/geolocation/contract.js';
import { addressHash } from '../../src/modules/geolocation/distance.js';
import { chooseTariff, priceCents, type LocalTime } from '../../src/modules/rides/tariff.js';
import type { Owner } from '../shared/schema.js';
import type { StepDatabases } from './step-databases.js';
import type { Step } from './steps.js';

/** A ride that can be completed, with a driver and a client of its own. */
export interface RideFixture {
  readonly id: string;
  readonly driverId: number;
  readonly fee: Fee | null;
  readonly clientId: number;
  readonly clientName: string;
  /** Whether the client collects miles; null for a client without an account. */
  readonly collects: boolean | null;
  /** When the ride started, on the clock that chooses the tariff. */
  readonly started: LocalTime;
  readonly status: 'IN_TRANSIT' | 'TRANSIT_TO_PASSENGER';
}

const TUESDAY_EVENING: LocalTime = { month: 2, day: 4, weekday: 2, hour: 17 };
const SATURDAY_NIGHT: LocalTime = { month: 2, day: 8, weekday: 6, hour: 22 };
const STARTED_AT = '2025-02-04T16:48:00.000Z';
const DISTANCE_METRES = 42_000;

/** The ride of the demo: Bob Falc is driving John Doe. */
export const DEMO: RideFixture = {
  id: DEMO_RIDE,
  driverId: DEMO_DRIVER,
  fee: { type: 'percentage', amount: 480, min: 1000 },
  clientId: DEMO_CLIENT.id,
  clientName: `${DEMO_CLIENT.name} ${DEMO_CLIENT.lastName}`,
  collects: true,
  started: TUESDAY_EVENING,
  status: 'IN_TRANSIT',
};

const extra = (n: number, differs: Partial<RideFixture>): RideFixture => ({
  ...DEMO,
  id: `0b9e5a4c-8d8f-4c1e-9a57-00000000000${n}`,
  driverId: DEMO_DRIVER + n,
  clientId: 100 + n,
  clientName: `Passenger ${n}`,
  ...differs,
});

/** The rides of the acceptance tests, beside the demo's: one ride for each test. */
export const ACCEPTANCE = {
  weekend: extra(1, { started: SATURDAY_NIGHT, fee: null }),
  withoutAccount: extra(2, { collects: null }),
  inactiveAccount: extra(3, { collects: false }),
  notStarted: extra(4, { status: 'TRANSIT_TO_PASSENGER' }),
  planned: extra(5, { fee: { type: 'flat', amount: 700 } }),
  repeated: extra(6, {}),
} as const;

/** Rides for the lab. @param run makes the ids differ between runs on the same databases; below 1000 */
export function manyRides(run: number, howMany: number): RideFixture[] {
  return Array.from({ length: howMany }, (_, index) => {
    const number = run * 100_000 + index;
    return {
      ...DEMO,
      id: `00000000-0000-4000-8000-${String(number).padStart(12, '0')}`,
      driverId: 1_000_000_000 + number,
      clientId: 1_000_000_000 + number,
      clientName: `P ${number}`,
    };
  });
}

/** Rows of one table. */
export interface Rows {
  readonly owner: Owner;
  readonly table: string;
  readonly rows: readonly Record<string, string | number | null>[];
}

/** The rows of rides, their drivers and their clients, for all owners. */
export function rideRows(rides: readonly RideFixture[], tables: Step['tables']): Rows[] {
  const isLegacy = tables === 'legacy';
  const addresses = [PICKUP, PLANNED].map((it) => ({
    id: addressId(it),
    hash: addressHash(it),
    address: JSON.stringify(it),
  }));
  const drivers = rides.map(({ driverId, fee }) => ({
    id: driverId,
    first_name: 'Bob',
    last_name: 'Falc',
    status: 'ACTIVE',
    fee: fee && JSON.stringify(fee),
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
      owner: 'loyalty',
      table: 'loyalty_account',
      rows: accounts.map(({ clientId, collects }) => ({
        client_id: clientId,
        active: Number(collects),
        transactions: 0,
        ...(!isLegacy && { opened_at: STARTED_AT }),
      })),
    },
  ];
}

/** Inserts rides that can be completed. Rides that are there already stay as they are. */
export function insertRides(databases: StepDatabases, rides: readonly RideFixture[]): void {
  for (const { owner, table, rows } of rideRows(rides, databases.step.tables)) {
    const columns = Object.keys(rows[0] ?? {});
    if (columns.length === 0) continue;
    const db = databases.of(owner);
    const statement = db.prepare(
      `INSERT OR IGNORE INTO ${table} (${columns.join(', ')}) VALUES (${columns.map((it) => `@${it}`).join(', ')})`,
    );
    db.transaction(() => rows.forEach((row) => statement.run(row))).immediate();
  }
}

function legacyRide({ id, status, clientId, clientName, driverId, started }: RideFixture) {
  return {
    id,
    status,
    client_id: clientId,
    client_name: clientName,
    driver_id: driverId,
    pickup_id: addressId(PICKUP),
    pickup: JSON.stringify(PICKUP),
    destination_id: addressId(PLANNED),
    destination: JSON.stringify(PLANNED),
    distance_metres: DISTANCE_METRES,
    tariff: JSON.stringify(chooseTariff(started)),
    started_at: status === 'IN_TRANSIT' ? STARTED_AT : null,
  };
}

function moduleRide(ride: RideFixture) {
  return {
    ...legacyRide(ride),
    car_class: 'REGULAR',
    estimated_price: priceCents(DISTANCE_METRES, chooseTariff(ride.started)),
    requested_at: STARTED_AT,
    published_at: STARTED_AT,
    accepted_at: STARTED_AT,
  };
}
