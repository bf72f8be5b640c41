import { Outbox } from '../../src/infrastructure/outbox/outbox.js';
import { Reconciliation } from '../../src/infrastructure/maintenance/reconciliation.js';
import { Retention } from '../../src/infrastructure/maintenance/retention.js';
import { UnitOfWork } from '../../src/infrastructure/persistence/unit-of-work.js';
import { OccupyDriver } from '../../src/modules/drivers/contract.js';
import { startCabs, type Cabs } from '../support/cabs.js';
import { read, write } from '../support/database-contents.js';
import { DATABASES } from '../support/databases.js';
import { copyRide, pastRide } from '../support/past-rides.js';
import { get, post, transitIn, waitUntilIdle, type Driver } from '../support/rest.js';

const DAY_MS = 86_400_000;
const SETTINGS = { MESH_RECONCILE_AFTER: 'PT0S', MESH_RECONCILE_EVERY: 'PT0S', REPEAT_GUARD_RETENTION: 'P400D' };

/* The rows of drivers_occupancy and geolocation_route, which only protect from messages that come again. */
describe.each(DATABASES)('Rows that protect from repeated messages on $kind', ({ fresh }) => {
  let database: string;
  let cabs: Cabs;
  /** Completed today. */
  let completed: { id: string; driverId: number };

  beforeEach(async () => {
    database = await fresh();
    cabs = await startCabs(database, SETTINGS);
    completed = await transitIn(cabs, 'COMPLETED');
    await waitUntilIdle(cabs);
  });
  afterEach(() => cabs.close());

  const sweep = (inDays = 0) => cabs.app.get(Retention).sweep(Date.now() + inDays * DAY_MS);
  const reconcile = async (isFull = false) => {
    const [run] = await cabs.app.get(Reconciliation).run({ isDryRun: false, isFull });
    await waitUntilIdle(cabs);
    return run!;
  };
  const freed = () => idsIn(`SELECT transit_id FROM drivers_occupancy WHERE state = 'FREED'`);
  const routes = () => idsIn('SELECT transit_id FROM geolocation_route');
  const idsIn = async (query: string) =>
    (await read<{ transit_id: string }>(database, `${query} ORDER BY transit_id`)).map((it) => it.transit_id);

  it('go when they are older than REPEAT_GUARD_RETENTION, and no others', async () => {
    const open = await transitIn(cabs, 'IN_TRANSIT');
    await copyRide(database, completed.id, [399 * DAY_MS, 402 * DAY_MS]);
    await sweep();
    expect(await freed()).toEqual([completed.id, pastRide(0)].sort());
    expect(await routes()).toEqual([completed.id, open.id, pastRide(0)].sort());
    await sweep(402);
    expect(await freed()).toEqual([]);
    expect(await routes()).toEqual([]);
    // An occupied driver stays occupied for as long as the ride takes.
    expect(await get<Driver>(cabs, `/drivers/${open.driverId}`)).toMatchObject({ occupied: true });
  });

  it('count from the day on which the driver was freed, not occupied', async () => {
    const { id } = await transitIn(cabs, 'TRANSIT_TO_PASSENGER');
    await write(database, `UPDATE drivers_occupancy SET freed_on = 1 WHERE transit_id = '${id}'`);
    await post(cabs, `/transits/${id}/cancel`);
    await waitUntilIdle(cabs);
    await sweep();
    expect(await freed()).toContain(id);
  });

  it('are not missing in a full run of the reconcile loop after they went', async () => {
    await copyRide(database, completed.id, [100 * DAY_MS, 402 * DAY_MS, 500 * DAY_MS]);
    await sweep();
    expect(await freed()).toHaveLength(2);
    for (const isFull of [false, true, true])
      expect(await reconcile(isFull)).toMatchObject({ examined: 4, missing: {} });
    expect(await freed()).toHaveLength(2);
  });

  it('are missing when they went too early, and are written again once', async () => {
    await copyRide(database, completed.id, [100 * DAY_MS, 402 * DAY_MS]);
    await write(database, 'DELETE FROM drivers_occupancy', 'DELETE FROM geolocation_route');
    expect(await reconcile()).toMatchObject({ missing: { driverFreed: 2, route: 2 } });
    await sweep();
    expect(await reconcile(true)).toMatchObject({ examined: 3, missing: {} });
  });

  it('are not needed to free a driver whom a very late message occupies', async () => {
    const { id, driverId } = completed;
    const old = ['requested', 'published', 'accepted', 'started', 'completing', 'completed'];
    const times = old.map((it) => `${it}_at = '2020-01-01T00:00:00.000Z'`).join(', ');
    await write(
      database,
      `UPDATE rides_transit SET ${times} WHERE id = '${id}'`,
      `UPDATE drivers_occupancy SET freed_on = 18262 WHERE transit_id = '${id}'`,
    );
    // More rides than each run reads: the old one isn't among the latest.
    const minutes = Array.from({ length: 60 }, (_, n) => n * 60_000);
    await copyRide(database, id, minutes);
    expect(await reconcile()).toMatchObject({ examined: 61, missing: {} });
    await sweep();
    expect(await freed()).toHaveLength(60);
    const outbox = cabs.app.get(Outbox);
    await cabs.app.get(UnitOfWork).run(async () => outbox.add(new OccupyDriver(id, { driverId, attempt: 1 })));
    await waitUntilIdle(cabs);
    expect(await get<Driver>(cabs, `/drivers/${driverId}`)).toMatchObject({ occupied: true });
    // Rides has this driver for the completed ride, so only the reconcile loop sees that the driver is not free.
    expect(await reconcile()).toMatchObject({ examined: 50, missing: { driverFreed: 1 } });
    expect(await get<Driver>(cabs, `/drivers/${driverId}`)).toMatchObject({ occupied: false });
  });
});
