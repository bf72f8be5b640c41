import { setTimeout as wait } from 'node:timers/promises';
import { PLANNED } from '../../src/demo.js';
import { Reconciliation } from '../../src/infrastructure/maintenance/reconciliation.js';
import type { ReconciliationRun, RunOptions } from '../../src/infrastructure/maintenance/reconciliation-run.js';
import { eventually, startCabs, type Cabs } from '../support/cabs.js';
import { read, write } from '../support/database-contents.js';
import { DATABASES } from '../support/databases.js';
import { copyRide, pastRide } from '../support/past-rides.js';
import { get, post, problemOf, transitIn, waitUntilIdle } from '../support/rest.js';

const ON_REQUEST = { MESH_RECONCILE_AFTER: 'PT0S', MESH_RECONCILE_EVERY: 'PT0S', MESH_RECONCILE_PACE: '99999' };
const RIDES = 1000;
/** Time from one ride to the next one. */
const GAP_MS = 10 * 60_000;

const numbers = (from: number, to: number) => Array.from({ length: to - from }, (_, n) => from + n);
const idsOf = (from: number, to: number) =>
  numbers(from, to)
    .map((n) => `'${pastRide(n)}'`)
    .join(', ');

describe.each(DATABASES)('Rides that the reconcile loop has found whole on $kind', ({ fresh, kind }) => {
  let database: string;
  let cabs: Cabs;

  beforeEach(async () => {
    database = await fresh();
    cabs = await startCabs(database, ON_REQUEST);
    const { id } = await transitIn(cabs, 'COMPLETED');
    await waitUntilIdle(cabs);
    await copyRide(
      database,
      id,
      numbers(1, RIDES + 1).map((n) => n * GAP_MS),
    );
    expect(await reconcile()).toMatchObject({ examined: RIDES + 1, missing: {} });
  });
  afterEach(() => cabs.close());

  const reconcile = async (options: Partial<RunOptions> = {}) => {
    const [run] = await cabs.app.get(Reconciliation).run({ isDryRun: false, ...options });
    await waitUntilIdle(cabs);
    return run!;
  };
  const listed = () => get<{ items: (ReconciliationRun & { isRunning: boolean })[] }>(cabs, '/mesh/reconciliations');
  const loseInvoices = (from: number, to: number) =>
    write(database, `DELETE FROM invoicing_invoice WHERE transit_id IN (${idsOf(from, to)})`);
  const restart = async (environment: Record<string, string>) => {
    await cabs.close();
    cabs = await startCabs(database, { ...ON_REQUEST, ...environment });
  };
  /** Starts a run, and stops the process after its first page. */
  const interrupt = async (options: Partial<RunOptions>) => {
    // A page in 10 s.
    await restart({ MESH_RECONCILE_PACE: '5' });
    const run = cabs.app.get(Reconciliation).run({ isDryRun: false, ...options });
    await wait(2000);
    await restart({});
    expect((await run)[0]).toMatchObject({ examined: 50, interrupted: expect.any(String) as string });
  };

  it('are not read again, except the latest', async () => {
    expect(await reconcile()).toMatchObject({ examined: 50, skipped: 0, missing: {} });
    await transitIn(cabs, 'COMPLETED');
    await transitIn(cabs, 'IN_TRANSIT');
    await transitIn(cabs, 'DRAFT');
    await waitUntilIdle(cabs);
    expect(await reconcile()).toMatchObject({ examined: 50, missing: {} });
    const left = await read<{ status: string }>(database, 'SELECT status FROM rides_transit WHERE whole_in <> status');
    expect(left).toEqual([{ status: 'IN_TRANSIT' }]);
  });

  it('are left out by an index', async () => {
    const page = `SELECT * FROM rides_transit WHERE whole_in <> status AND (requested_at, id) < ('2100', 'x')
      ORDER BY requested_at DESC, id DESC LIMIT 50`;
    await write(database, 'ANALYZE');
    const plan = await read(database, kind === 'sqlite' ? `EXPLAIN QUERY PLAN ${page}` : `EXPLAIN ${page}`);
    expect(JSON.stringify(plan)).toContain('rides_transit_not_whole');
  });

  it('are read again in a full run, which repairs what was deleted among old rides', async () => {
    await loseInvoices(900, 910);
    expect(await reconcile()).toMatchObject({ examined: 50, missing: {} });
    problemOf(await cabs.http.post('/mesh/reconciliations/run?full=yes'), 400, 'full');
    await cabs.http.post('/mesh/reconciliations/run?full=true&dry-run=true').expect(202);
    const [dry] = (await eventually(listed, ({ items }) => !items[0]!.isRunning)).items;
    expect(dry).toMatchObject({ isFull: true, examined: RIDES + 1, missing: { invoice: 10 }, sent: 0 });
    expect(await reconcile({ isFull: true })).toMatchObject({
      examined: RIDES + 1,
      missing: { invoice: 10 },
      sent: 10,
    });
    // Those that lacked something are read once more, to find them whole.
    expect(await reconcile()).toMatchObject({ examined: 60, missing: {} });
    expect(await reconcile()).toMatchObject({ examined: 50, missing: {} });
  });

  it('are read back to a day before the loss when the latest lack something, as after a restored backup', async () => {
    await loseInvoices(0, 200);
    const run = await reconcile();
    expect(run).toMatchObject({ missing: { invoice: 200 }, sent: 200 });
    // 144 rides are a day.
    expect(run.examined).toBeGreaterThanOrEqual(345);
    expect(run.examined).toBeLessThanOrEqual(400);
    const [invoices] = await read<{ n: string }>(database, 'SELECT COUNT(*) AS n FROM invoicing_invoice');
    expect(Number(invoices!.n)).toBe(RIDES + 1);
    // Those that were repaired, and a page of whole ones.
    expect(await reconcile()).toMatchObject({ examined: 250, missing: {} });
    expect(await reconcile()).toMatchObject({ examined: 50, missing: {} });
  });

  it('are examined again when the destination of an open ride changes', async () => {
    const { id } = await transitIn(cabs, 'WAITING_FOR_DRIVER_ASSIGNMENT');
    await waitUntilIdle(cabs);
    await reconcile();
    // Older than the rides that each run reads.
    await write(database, `UPDATE rides_transit SET requested_at = '2020-01-01T00:00:00.000Z' WHERE id = '${id}'`);
    await post(cabs, `/transits/${id}/destination`, { ...PLANNED, buildingNumber: 31 });
    await waitUntilIdle(cabs);
    await write(database, `DELETE FROM geolocation_route WHERE transit_id = '${id}'`);
    expect(await reconcile()).toMatchObject({ examined: 51, missing: { route: 1 } });
  });

  it('are all read by a full run that was interrupted, and by one after another interrupted run', async () => {
    await loseInvoices(990, 1000);
    await interrupt({ isFull: true });
    expect(await reconcile()).toMatchObject({ examined: RIDES + 1 - 50, missing: { invoice: 10 } });
    await loseInvoices(20, 30);
    await interrupt({});
    expect(await reconcile({ isFull: true })).toMatchObject({ examined: RIDES + 1 });
  });
});
