import { setTimeout as wait } from 'node:timers/promises';
import { REACHED } from '../../src/demo.js';
import type { ReconciliationRun } from '../../src/infrastructure/maintenance/reconciliation-run.js';
import { Conflict } from '../../src/infrastructure/contracts/domain-errors.js';
import { Reconciliation } from '../../src/infrastructure/maintenance/reconciliation.js';
import { eventually, startCabs, type Cabs } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';
import { write } from '../support/database-contents.js';
import { effectsIn } from '../support/processes.js';
import { waitUntilIdle, bodyOf, get, problemOf, transitIn, type Ride } from '../support/rest.js';
import { ONE_DATABASE } from '../support/thorough.js';

/** Transits are examined as soon as they end, and runs start only on request. */
const ON_REQUEST = { MESH_RECONCILE_AFTER: 'PT0S', MESH_RECONCILE_EVERY: 'PT0S', MESH_RECONCILE_PACE: '10000' };

interface TransitBody {
  readonly id: string;
  readonly clientId: number;
  readonly driverFee: number;
}

type ListedRun = ReconciliationRun & { isRunning: boolean };

describe.each(ONE_DATABASE)('The reconcile loop on $kind', ({ fresh }) => {
  let database: string;
  let cabs: Cabs;
  let transits: { id: string; driverId: number }[];

  beforeEach(async () => {
    database = await fresh();
    cabs = await startCabs(database, ON_REQUEST);
    transits = [];
    for (let n = 0; n < 3; n++) {
      const transit = await transitIn(cabs, 'IN_TRANSIT');
      const { clientId } = await get<{ clientId: number }>(cabs, `/transits/${transit.id}`);
      if (n < 2) {
        await cabs.http.post(`/clients/${clientId}/awards`).expect(201);
        await cabs.http.post(`/clients/${clientId}/awards/activate`).expect(200);
      }
      transits.push(transit);
    }
    for (const { id } of transits) await complete(id);
    await waitUntilIdle(cabs);
  });
  afterEach(() => cabs.close());

  const complete = async (id: string) =>
    bodyOf<Ride>(await cabs.http.post(`/transits/${id}/complete`).set('Prefer', 'wait=10').send(REACHED), 200);
  const reconcile = async (isDryRun = false) => {
    const [run] = await cabs.app.get(Reconciliation).run({ isDryRun });
    await waitUntilIdle(cabs);
    return run!;
  };
  const effects = () => effectsIn([database]);
  const ALL_EFFECTS = { invoices: 3, fees: 3, miles: 2, transactions: 2, occupied: 0 };

  it('finds nothing missing when nothing was lost, also for a client without a miles account', async () => {
    expect(await effects()).toEqual(ALL_EFFECTS);
    expect(await reconcile()).toMatchObject({ examined: 3, missing: {}, sent: 0 });
    expect(await effects()).toEqual(ALL_EFFECTS);
  });

  it('sends the commands for deleted rows once, and finds nothing missing in the next run', async () => {
    await write(
      database,
      'DELETE FROM invoicing_invoice',
      'DELETE FROM drivers_fee',
      'DELETE FROM loyalty_miles',
      'UPDATE loyalty_account SET transactions = 0',
      'DELETE FROM drivers_occupancy',
      'DELETE FROM geolocation_route',
    );
    const missing = { route: 3, driverFee: 3, driverFreed: 3, miles: 2, invoice: 3 };
    expect(await reconcile(true)).toMatchObject({ isDryRun: true, examined: 3, missing, sent: 0 });
    expect(await effects()).toMatchObject({ invoices: 0 });
    expect(await reconcile()).toMatchObject({ isDryRun: false, examined: 3, missing, sent: 14 });
    expect(await effects()).toEqual(ALL_EFFECTS);
    expect(await reconcile()).toMatchObject({ examined: 3, missing: {}, sent: 0 });
    expect(await effects()).toEqual(ALL_EFFECTS);
  });

  it('keeps the settlement of a transit and reports what is missing for as long as it can’t be repaired', async () => {
    await write(
      database,
      'CREATE TABLE kept AS SELECT * FROM drivers_driver',
      'DELETE FROM drivers_driver',
      'DELETE FROM drivers_fee',
      'DELETE FROM loyalty_account',
      'DELETE FROM loyalty_miles',
    );
    const { id, driverFee, clientId } = await get<TransitBody>(cabs, `/transits/${transits[0]!.id}`);
    for (let n = 0; n < 2; n++)
      expect(await reconcile()).toMatchObject({ missing: { driverFee: 3, miles: 2 }, sent: 5 });
    const settlement = { driverFee: 'settled', driverFreed: 'settled', miles: 'settled', invoice: 'settled' };
    expect(await get(cabs, `/transits/${id}`)).toMatchObject({ driverFee, settlement });
    // With the drivers and an account back, the next run repairs the rows.
    await write(database, 'INSERT INTO drivers_driver SELECT * FROM kept', 'DROP TABLE kept');
    await cabs.http.post(`/clients/${clientId}/awards`).expect(201);
    await cabs.http.post(`/clients/${clientId}/awards/activate`).expect(200);
    expect(await reconcile()).toMatchObject({ missing: { driverFee: 3, miles: 2 } });
    expect(await effects()).toEqual({ ...ALL_EFFECTS, miles: 1, transactions: 1 });
    expect(await reconcile()).toMatchObject({ missing: { miles: 1 } });
  });

  it('frees a driver who is still occupied, and requests answers that rides has not received', async () => {
    // The fee depends on the tariff, and the tariff on the day of the week.
    const { driverFee } = await get<{ driverFee: number }>(cabs, `/transits/${transits[1]!.id}`);
    expect(driverFee).toBeGreaterThan(0);
    await write(
      database,
      `UPDATE drivers_occupancy SET state = 'OCCUPIED' WHERE driver_id = ${transits[0]!.driverId}`,
      `UPDATE rides_transit SET invoice_settled = 'pending', driver_fee_settled = 'pending', driver_fee = NULL WHERE id = '${transits[1]!.id}'`,
      `UPDATE rides_transit SET miles_settled = 'pending', miles = NULL WHERE id = '${transits[1]!.id}'`,
    );
    expect(await reconcile()).toMatchObject({
      missing: { driverFreed: 1, driverFee: 1, invoice: 1, miles: 1 },
      sent: 4,
    });
    expect(await effects()).toEqual(ALL_EFFECTS);
    const settled = { driverFee: 'settled', driverFreed: 'settled', miles: 'settled', invoice: 'settled' };
    expect(await get(cabs, `/transits/${transits[1]!.id}`)).toMatchObject({ driverFee, settlement: settled });
    expect(await reconcile()).toMatchObject({ missing: {}, sent: 0 });
  });

  it('completes a transit whose completion was lost', async () => {
    const { id } = await transitIn(cabs, 'IN_TRANSIT');
    // This is the state after a broker accepted the command and lost it.
    await write(
      database,
      `UPDATE rides_transit SET status = 'COMPLETING', completing_at = '2025-01-01T00:00:00.000Z',
         reached = destination, reached_id = destination_id WHERE id = '${id}'`,
    );
    expect(await reconcile()).toMatchObject({ examined: 4, missing: { completion: 1 }, sent: 1 });
    expect(await get(cabs, `/transits/${id}`)).toMatchObject({
      status: 'COMPLETED',
      settlement: { invoice: 'settled' },
    });
  });

  it('skips transits that changed less than MESH_RECONCILE_AFTER ago, unless a run asks for another age', async () => {
    await write(database, 'DELETE FROM invoicing_invoice');
    await cabs.close();
    cabs = await startCabs(database, { ...ON_REQUEST, MESH_RECONCILE_AFTER: 'PT10M' });
    expect(await reconcile()).toMatchObject({ examined: 0, skipped: 3, minAgeMs: 600_000, missing: {} });
    const { id } = transits[0]!;
    const times = ['requested_at', 'published_at', 'accepted_at', 'started_at', 'completing_at'];
    const long = times.map((it) => `${it} = '2025-01-01T00:00:00.000Z'`).join(', ');
    await write(database, `UPDATE rides_transit SET ${long} WHERE id = '${id}'`);
    expect(await reconcile()).toMatchObject({ examined: 1, skipped: 2, missing: { invoice: 1 } });
    const invalid = await cabs.http.post('/mesh/reconciliations/run?after=5m');
    expect(problemOf(invalid, 400, 'after').errors).toMatchObject([
      { detail: expect.stringContaining('ISO 8601 duration') as string },
    ]);
    await cabs.http.post('/mesh/reconciliations/run?after=PT0S').expect(202);
    const { items } = await eventually(
      () => get<{ items: ListedRun[] }>(cabs, '/mesh/reconciliations'),
      (it) => it.items[0]?.minAgeMs === 0 && !it.items[0].isRunning,
    );
    expect(items).toMatchObject([{ examined: 3, skipped: 0, missing: { invoice: 2 } }]);
    await waitUntilIdle(cabs);
    expect(await effects()).toEqual(ALL_EFFECTS);
  });

  it('frees drivers who are occupied with a transit that rides does not know, or that is not theirs', async () => {
    const recent = await transitIn(cabs, 'WAITING_FOR_DRIVER_ASSIGNMENT');
    const occupy = (driver: number, transit: string) =>
      `INSERT INTO drivers_occupancy (driver_id, transit_id, state) VALUES (${driver}, '${transit}', 'OCCUPIED')`;
    const unknown = (n: number) => `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`;
    // More drivers than one page holds.
    await write(
      database,
      occupy(1000, recent.id),
      ...Array.from({ length: 120 }, (_, n) => occupy(2000 + n, unknown(n))),
    );
    const ofOldRides = cabs.app.get(Reconciliation).run({ isDryRun: true, minAgeMs: 600_000 });
    expect((await ofOldRides)[0]).toMatchObject({ examined: 0, skipped: 4, missing: { driverFreed: 120 } });
    expect(await reconcile()).toMatchObject({ examined: 4, missing: { driverFreed: 121 }, sent: 121 });
    expect(await effects()).toEqual(ALL_EFFECTS);
    expect(await reconcile()).toMatchObject({ examined: 4, missing: {} });
    expect(await get(cabs, '/mesh/outbox')).toMatchObject({ deadLetters: 0 });
  });

  it('occupies the driver of a transit on its way again when drivers was restored from an older backup', async () => {
    const { driverId } = await transitIn(cabs, 'IN_TRANSIT');
    await write(database, `DELETE FROM drivers_occupancy WHERE driver_id = ${driverId}`);
    expect(await reconcile()).toMatchObject({ examined: 4, missing: { driverOccupied: 1 }, sent: 1 });
    expect(await get(cabs, `/drivers/${driverId}`)).toMatchObject({ occupied: true });
    expect(await reconcile()).toMatchObject({ examined: 4, missing: {} });
  });

  it('continues after an interruption, and keeps to its pace', async () => {
    await write(
      database,
      // More transits than one page holds.
      ...Array.from({ length: 120 }, (_, n) => {
        const id = `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`;
        return `INSERT INTO rides_transit (id, status, client_id, client_name, car_class, driver_id, pickup_id, pickup,
          destination_id, destination, distance_metres, tariff, estimated_price, price, requested_at, completing_at, completed_at)
          SELECT '${id}', status, client_id, client_name, car_class, driver_id, pickup_id, pickup, destination_id, destination,
          distance_metres, tariff, estimated_price, price, requested_at, completing_at, completed_at
          FROM rides_transit WHERE id = '${transits[2]!.id}'`;
      }),
    );
    await cabs.close();
    cabs = await startCabs(database, { ...ON_REQUEST, MESH_RECONCILE_PACE: '5' });
    // At this pace the second page begins 10 s after the first, so there is time to interrupt the run.
    const interrupted = cabs.app.get(Reconciliation).run({ isDryRun: false });
    const current = async () => (await get<{ items: ListedRun[] }>(cabs, '/mesh/reconciliations')).items[0];
    await eventually(current, (it) => it?.examined === 50);
    await cabs.close();
    expect((await interrupted)[0]).toMatchObject({ examined: 50, interrupted: expect.any(String) as string });

    cabs = await startCabs(database, { ...ON_REQUEST, MESH_RECONCILE_PACE: '100' });
    const began = Date.now();
    expect(await reconcile()).toMatchObject({ examined: 73, sent: 5 * 71 });
    expect(Date.now() - began).toBeGreaterThan(500);
    expect(await effects()).toMatchObject({ invoices: 123, fees: 123, occupied: 0 });
    expect(await reconcile()).toMatchObject({ examined: 123, missing: {} });
  });

  it('runs also in processes that live shorter than MESH_RECONCILE_EVERY', async () => {
    const runs = () => cabs.app.get(Reconciliation).runs();
    const live = async (every: string) => {
      await cabs.close();
      cabs = await startCabs(database, { ...ON_REQUEST, MESH_RECONCILE_EVERY: every });
      await wait(1800);
      return (await runs())[0]?.startedAt;
    };
    const first = await live('PT1H');
    expect(first).toBeDefined();
    expect(await live('PT1H')).toBe(first);
    expect(await live('PT3S')).not.toBe(first);
  });

  it('refuses a run while one with other options is in progress, and joins it to one with the same', async () => {
    const reconciliation = cabs.app.get(Reconciliation);
    const first = reconciliation.run({ isDryRun: true });
    expect(() => reconciliation.run({ isDryRun: false })).toThrow('A run with other options is in progress');
    expect(() => reconciliation.run({ isDryRun: true, minAgeMs: 9000 })).toThrow(Conflict);
    expect(await reconciliation.run({ isDryRun: true, minAgeMs: 0 })).toEqual(await first);
    await reconcile();
  });

  it('runs every MESH_RECONCILE_EVERY, and is listed', async () => {
    await write(database, 'DELETE FROM invoicing_invoice');
    await cabs.close();
    cabs = await startCabs(database, { ...ON_REQUEST, MESH_RECONCILE_EVERY: 'PT0.2S' });
    await eventually(effects, ({ invoices }) => invoices === 3);
    const { items } = await get<{ items: ListedRun[] }>(cabs, '/mesh/reconciliations');
    expect(items).toMatchObject([{ module: 'rides' }]);
  });
});

describe('Reconciliation by several processes on one PostgreSQL', () => {
  const postgres = DATABASES.find(({ kind }) => kind === 'postgres');
  const onPostgres = postgres ? it : it.skip;
  const reconcile = async ({ app }: Cabs) => (await app.get(Reconciliation).run({ isDryRun: false }))[0]!;
  const lastRun = async (cabs: Cabs) => (await get<{ items: ListedRun[] }>(cabs, '/mesh/reconciliations')).items[0]!;

  onPostgres('runs in each process on request, and each process lists the last run', async () => {
    const database = await postgres!.fresh();
    const all = await Promise.all([0, 1, 2].map(() => startCabs(database, ON_REQUEST)));
    for (const cabs of [...all, ...all]) expect((await reconcile(cabs)).interrupted).toBeUndefined();
    expect(await lastRun(all[0]!)).toEqual(await lastRun(all[2]!));
    await Promise.all(all.map((cabs) => cabs.close()));
  });

  onPostgres('is not started by the timer when another process has run it lately', async () => {
    const database = await postgres!.fresh();
    const requested = await startCabs(database, ON_REQUEST);
    const periodic = await startCabs(database, { ...ON_REQUEST, MESH_RECONCILE_EVERY: 'PT6S' });
    // The timer fires 1 s after the start, and 6 s later: this run ends a short time before, and the check comes after.
    await wait(5000);
    const { startedAt } = await reconcile(requested);
    await wait(3000);
    expect(await lastRun(periodic)).toMatchObject({ startedAt });
    await eventually(
      () => lastRun(periodic),
      (it) => it.startedAt > startedAt,
    );
    await Promise.all([requested.close(), periodic.close()]);
  });
});
