import { execFile } from 'node:child_process';
import { copyFileSync, rmSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';
import { REACHED } from '../../src/demo.js';
import type { ReconciliationRun } from '../../src/infrastructure/maintenance/reconciliation-run.js';
import { Reconciliation } from '../../src/infrastructure/maintenance/reconciliation.js';
import { ROOT } from '../../tools/source.js';
import { eventually, startCabs, type Cabs } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';
import { read, write } from '../support/database-contents.js';
import { Deployment, effectsIn } from '../support/processes.js';
import { atRest, bodyOf, get, rideThatIs, type Ride } from '../support/rest.js';
import { atOnce, call, prepareRides } from '../support/server.js';

/** Rides are looked at as soon as they are over, and passes begin only when somebody asks. */
const AT_ONCE = { MESH_RECONCILE_AFTER: 'PT0S', MESH_RECONCILE_EVERY: 'PT0S', MESH_RECONCILE_PACE: '10000' };

interface Known {
  readonly id: string;
  readonly clientId: number;
  readonly driverFee: number;
}

type Shown = ReconciliationRun & { isRunning: boolean };

describe.each(DATABASES)('The reconcile loop on $kind', ({ fresh }) => {
  let database: string;
  let cabs: Cabs;
  let rides: { id: string; driverId: number }[];

  beforeEach(async () => {
    database = await fresh();
    cabs = await startCabs(database, AT_ONCE);
    rides = [];
    for (let n = 0; n < 3; n++) {
      const ride = await rideThatIs(cabs, 'IN_TRANSIT');
      const { clientId } = await get<{ clientId: number }>(cabs, `/transits/${ride.id}`);
      if (n < 2) {
        await cabs.http.post(`/clients/${clientId}/awards`).expect(201);
        await cabs.http.post(`/clients/${clientId}/awards/activate`).expect(200);
      }
      rides.push(ride);
    }
    for (const { id } of rides) await complete(id);
    await atRest(cabs);
  }, 60_000);
  afterEach(() => cabs.close());

  const complete = async (id: string) =>
    bodyOf<Ride>(await cabs.http.post(`/transits/${id}/complete`).set('Prefer', 'wait=10').send(REACHED), 200);
  const pass = async (isDryRun = false) => {
    const [done] = await cabs.app.get(Reconciliation).run({ isDryRun });
    await atRest(cabs);
    return done!;
  };
  const effects = () => effectsIn([database]);
  const WHOLE = { invoices: 3, fees: 3, miles: 2, transactions: 2, occupied: 0 };

  it('finds nothing to do where everything is there, also where a client collects no miles', async () => {
    expect(await effects()).toEqual(WHOLE);
    expect(await pass()).toMatchObject({ examined: 3, missing: {}, sent: 0 });
    expect(await effects()).toEqual(WHOLE);
  });

  it('sends again what somebody has deleted, once, and then finds nothing', async () => {
    await write(
      database,
      ...['DELETE FROM invoicing_invoice', 'DELETE FROM drivers_fee', 'DELETE FROM loyalty_miles'],
      ...['UPDATE loyalty_account SET transactions = 0', 'DELETE FROM drivers_occupancy'],
    );
    const missing = { driverFee: 3, driverFreed: 3, miles: 2, invoice: 3 };
    expect(await pass(true)).toMatchObject({ isDryRun: true, examined: 3, missing, sent: 0 });
    expect(await effects()).toMatchObject({ invoices: 0 });
    expect(await pass()).toMatchObject({ isDryRun: false, examined: 3, missing, sent: 11 });
    expect(await effects()).toEqual(WHOLE);
    expect(await pass()).toMatchObject({ examined: 3, missing: {}, sent: 0 });
    expect(await effects()).toEqual(WHOLE);
  });

  it('keeps what rides knows, and goes on telling what lacks, while its owner lacks what it takes', async () => {
    await write(
      database,
      ...['CREATE TABLE kept AS SELECT * FROM drivers_driver', 'DELETE FROM drivers_driver', 'DELETE FROM drivers_fee'],
      ...['DELETE FROM loyalty_account', 'DELETE FROM loyalty_miles'],
    );
    const { id, driverFee, clientId } = await get<Known>(cabs, `/transits/${rides[0]!.id}`);
    for (let n = 0; n < 2; n++) expect(await pass()).toMatchObject({ missing: { driverFee: 3, miles: 2 }, sent: 5 });
    const settlement = { driverFee: 'settled', driverFreed: 'settled', miles: 'settled', invoice: 'settled' };
    expect(await get(cabs, `/transits/${id}`)).toMatchObject({ driverFee, settlement });
    // As soon as it can be mended, it is.
    await write(database, 'INSERT INTO drivers_driver SELECT * FROM kept', 'DROP TABLE kept');
    await cabs.http.post(`/clients/${clientId}/awards`).expect(201);
    await cabs.http.post(`/clients/${clientId}/awards/activate`).expect(200);
    expect(await pass()).toMatchObject({ missing: { driverFee: 3, miles: 2 } });
    expect(await effects()).toEqual({ ...WHOLE, miles: 1, transactions: 1 });
    expect(await pass()).toMatchObject({ missing: { miles: 1 } });
  });

  it('frees a driver who is occupied again, and asks again for answers that rides has never heard', async () => {
    // The fee depends on the tariff, and the tariff on the day of the week.
    const { driverFee } = await get<{ driverFee: number }>(cabs, `/transits/${rides[1]!.id}`);
    expect(driverFee).toBeGreaterThan(0);
    await write(
      database,
      `UPDATE drivers_occupancy SET state = 'OCCUPIED' WHERE driver_id = ${rides[0]!.driverId}`,
      `UPDATE rides_transit SET invoice_settled = 'pending', driver_fee_settled = 'pending', driver_fee = NULL WHERE id = '${rides[1]!.id}'`,
      `UPDATE rides_transit SET miles_settled = 'pending', miles = NULL WHERE id = '${rides[1]!.id}'`,
    );
    expect(await pass()).toMatchObject({ missing: { driverFreed: 1, driverFee: 1, invoice: 1, miles: 1 }, sent: 4 });
    expect(await effects()).toEqual(WHOLE);
    const settled = { driverFee: 'settled', driverFreed: 'settled', miles: 'settled', invoice: 'settled' };
    expect(await get(cabs, `/transits/${rides[1]!.id}`)).toMatchObject({ driverFee, settlement: settled });
    expect(await pass()).toMatchObject({ missing: {}, sent: 0 });
  });

  it('completes a ride whose completion was lost', async () => {
    const { id } = await rideThatIs(cabs, 'IN_TRANSIT');
    // As a broker leaves it that has accepted the command and lost it.
    await write(
      database,
      `UPDATE rides_transit SET status = 'COMPLETING', completing_at = '2025-01-01T00:00:00.000Z',
         reached = destination, reached_id = destination_id WHERE id = '${id}'`,
    );
    expect(await pass()).toMatchObject({ examined: 4, missing: { completion: 1 }, sent: 1 });
    expect(await get(cabs, `/transits/${id}`)).toMatchObject({
      status: 'COMPLETED',
      settlement: { invoice: 'settled' },
    });
  });

  it('leaves alone what has only just ended', async () => {
    await write(database, 'DELETE FROM invoicing_invoice');
    await cabs.close();
    cabs = await startCabs(database, { ...AT_ONCE, MESH_RECONCILE_AFTER: 'PT10M' });
    expect(await pass()).toMatchObject({ examined: 0, missing: {} });
  });

  it('goes on where it was cut off, and keeps to its pace', async () => {
    await write(
      database,
      // More than are looked at together.
      ...Array.from({ length: 120 }, (_, n) => {
        const id = `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`;
        return `INSERT INTO rides_transit (id, status, client_id, client_name, car_class, driver_id, pickup_id, pickup,
          destination_id, destination, distance_metres, tariff, estimated_price, price, requested_at, completing_at, completed_at)
          SELECT '${id}', status, client_id, client_name, car_class, driver_id, pickup_id, pickup, destination_id, destination,
          distance_metres, tariff, estimated_price, price, requested_at, completing_at, completed_at
          FROM rides_transit WHERE id = '${rides[2]!.id}'`;
      }),
    );
    await cabs.close();
    cabs = await startCabs(database, { ...AT_ONCE, MESH_RECONCILE_PACE: '50' });
    const cutOff = cabs.app.get(Reconciliation).run({ isDryRun: false });
    const shown = async () => (await get<{ items: Shown[] }>(cabs, '/mesh/reconciliations')).items[0];
    await eventually(shown, (it) => it?.examined === 50);
    await cabs.close();
    expect((await cutOff)[0]).toMatchObject({ examined: 50, interrupted: expect.any(String) as string });

    cabs = await startCabs(database, { ...AT_ONCE, MESH_RECONCILE_PACE: '100' });
    const began = Date.now();
    expect(await pass()).toMatchObject({ examined: 73, sent: 4 * 72 });
    expect(Date.now() - began).toBeGreaterThan(500);
    expect(await effects()).toMatchObject({ invoices: 123, fees: 123, occupied: 0 });
    expect(await pass()).toMatchObject({ examined: 123, missing: {} });
  }, 60_000);

  it('is begun by itself, and shown', async () => {
    await write(database, 'DELETE FROM invoicing_invoice');
    await cabs.close();
    cabs = await startCabs(database, { ...AT_ONCE, MESH_RECONCILE_EVERY: 'PT0.2S' });
    await eventually(effects, ({ invoices }) => invoices === 3);
    const { items } = await get<{ items: Shown[] }>(cabs, '/mesh/reconciliations');
    expect(items).toMatchObject([{ module: 'rides' }]);
  });
});

describe('Passes of several processes on one PostgreSQL', () => {
  const postgres = DATABASES.find(({ kind }) => kind === 'postgres');
  const onPostgres = postgres ? it : it.skip;
  const pass = async ({ app }: Cabs) => (await app.get(Reconciliation).run({ isDryRun: false }))[0]!;
  const shown = async (cabs: Cabs) => (await get<{ items: Shown[] }>(cabs, '/mesh/reconciliations')).items[0]!;

  onPostgres(
    'are for whoever asks, one after the other',
    async () => {
      const database = await postgres!.fresh();
      const all = await Promise.all([0, 1, 2].map(() => startCabs(database, AT_ONCE)));
      for (const cabs of [...all, ...all]) expect((await pass(cabs)).interrupted).toBeUndefined();
      // Whoever is asked tells of the last one.
      expect(await shown(all[0]!)).toEqual(await shown(all[2]!));
      await Promise.all(all.map((cabs) => cabs.close()));
    },
    30_000,
  );

  onPostgres(
    'do not come by themselves where another process has just done it',
    async () => {
      const database = await postgres!.fresh();
      const asked = await startCabs(database, AT_ONCE);
      const alone = await startCabs(database, { ...AT_ONCE, MESH_RECONCILE_EVERY: 'PT2S' });
      await wait(1500);
      const { startedAt } = await pass(asked);
      await wait(1000);
      expect(await shown(alone)).toMatchObject({ startedAt });
      await eventually(
        () => shown(alone),
        (it) => it.startedAt > startedAt,
      );
      await Promise.all([asked.close(), alone.close()]);
    },
    30_000,
  );
});

describe('npm run reconcile', () => {
  const reconcile = (url: string, ...words: string[]) =>
    new Promise<{ code: number; output: string }>((resolve) => {
      const { NODE_OPTIONS: _, ...env } = process.env;
      const all = ['--import', 'tsx', 'tools/reconcile.ts', '--url', url, ...words];
      execFile(process.execPath, all, { cwd: ROOT, env }, (error, stdout, stderr) =>
        resolve({ code: error ? Number(error.code) : 0, output: stdout + stderr }),
      );
    });
  const RIDES = 12;
  const WHOLE = { invoices: RIDES, fees: RIDES, miles: RIDES, transactions: RIDES, occupied: 0 };
  let deployment: Deployment;

  afterEach(() => deployment?.stop(), 60_000);

  async function settled(rides: readonly string[]): Promise<void> {
    await atOnce(6, rides.length, (n) => call('POST', `${deployment.url}/transits/${rides[n]}/complete`, REACHED));
    await deployment.idle();
  }

  it('makes good for the databases of owners that were restored from older backups, with modules apart', async () => {
    deployment = await new Deployment('split', DATABASES[0]!.fresh, { ...AT_ONCE, LOG_LEVEL: 'warn' }).start();
    const rides = await prepareRides(deployment.url, RIDES);
    const owners = ['invoicing', 'drivers', 'loyalty'].map((name) => deployment.members.get(name)!);
    const pathOf = ({ database }: { database: string }) => database.replace('sqlite:', '');
    const end = () => Promise.all(owners.map((owner) => owner.process.end('SIGTERM')));
    const start = async () => {
      for (const owner of owners) owner.process = await owner.start();
    };
    await end();
    for (const path of owners.map(pathOf)) copyFileSync(path, `${path}.backup`);
    await start();
    await settled(rides);
    expect(await effectsIn(deployment.moduleDatabases)).toEqual(WHOLE);

    await end();
    for (const path of owners.map(pathOf)) {
      for (const ending of ['', '-wal', '-shm']) rmSync(path + ending, { force: true });
      copyFileSync(`${path}.backup`, path);
    }
    // While they can't be asked, they aren't taken for empty.
    const without = await reconcile(deployment.url);
    expect(without).toMatchObject({ code: 1, output: expect.stringContaining('Interrupted') as string });
    await start();
    const lost = { invoices: 0, fees: 0, miles: 0, transactions: 0, occupied: RIDES };
    expect(await effectsIn(deployment.moduleDatabases)).toEqual(lost);
    const missing = ['driverFee', 'driverFreed', 'miles', 'invoice'].map((what) => `${what} ${RIDES}`).join(', ');
    const dry = await reconcile(deployment.url, '--dry-run');
    expect(dry).toMatchObject({ code: 0, output: expect.stringContaining(missing) as string });
    const done = await reconcile(deployment.url);
    expect(done.output).toContain(`rides: ${RIDES} examined, missing: ${missing}`);
    await deployment.idle();
    expect(await effectsIn(deployment.moduleDatabases)).toEqual(WHOLE);
    expect((await reconcile(deployment.url)).output).toContain('missing: nothing');
  }, 180_000);

  it.each([
    ["a module's database that is restored from an older backup", 'restored'],
    ['rows that somebody deletes', 'deleted'],
  ])(
    'makes good for %s while rides go on ending',
    async (_, how) => {
      deployment = await new Deployment('split', DATABASES[0]!.fresh, { ...AT_ONCE, LOG_LEVEL: 'warn' }).start();
      const [before, during] = [await prepareRides(deployment.url, RIDES), await prepareRides(deployment.url, 60)];
      const all = RIDES + during.length;
      const invoicing = deployment.members.get('invoicing')!;
      const path = invoicing.database.replace('sqlite:', '');
      await invoicing.process.end('SIGTERM');
      copyFileSync(path, `${path}.backup`);
      invoicing.process = await invoicing.start();
      await settled(before);

      const load = atOnce(2, during.length, async (n) => {
        await call('POST', `${deployment.url}/transits/${during[n]}/complete`, REACHED);
        await wait(150);
      });
      await wait(500);
      if (how === 'restored') {
        await invoicing.process.end('SIGTERM');
        for (const end of ['', '-wal', '-shm']) rmSync(path + end, { force: true });
        copyFileSync(`${path}.backup`, path);
        invoicing.process = await invoicing.start();
      } else {
        await write(invoicing.database, 'DELETE FROM invoicing_invoice');
        await write(deployment.members.get('drivers')!.database, 'DELETE FROM drivers_fee');
      }
      // Some of what a pass finds missing is only on its way: what is sent twice for that is done once.
      for (let n = 0; n < 2; n++) await reconcile(deployment.url);
      await load;
      const isWhole = async () => {
        await deployment.idle();
        return (await reconcile(deployment.url)).output;
      };
      await eventually(isWhole, (output) => output.includes('missing: nothing'), 60_000);
      expect(await effectsIn(deployment.moduleDatabases)).toEqual({
        ...{ invoices: all, fees: all, miles: all, transactions: all, occupied: 0 },
      });
    },
    180_000,
  );

  it('makes good for a broker that goes on losing what it has accepted, under load', async () => {
    deployment = await new Deployment('knative', DATABASES[0]!.fresh, { ...AT_ONCE, LOG_LEVEL: 'warn' }).start();
    const [rides, more] = [await prepareRides(deployment.url, RIDES), await prepareRides(deployment.url, 40)];
    const all = RIDES + more.length;
    const whole = { invoices: all, fees: all, miles: all, transactions: all, occupied: 0 };
    const broker = deployment.brokerDatabase;
    await write(
      broker,
      'CREATE TABLE lost (n integer)',
      // A third of its deliveries are gone as soon as they are there.
      `CREATE TRIGGER loses AFTER INSERT ON mesh_delivery WHEN abs(random()) % 3 = 0
       BEGIN DELETE FROM mesh_delivery WHERE seq = NEW.seq; INSERT INTO lost VALUES (1); END`,
    );
    await settled(rides);
    const load = atOnce(2, more.length, async (n) => {
      await call('POST', `${deployment.url}/transits/${more[n]}/complete`, REACHED);
      await wait(100);
    });
    await reconcile(deployment.url);
    await load;
    expect((await read<{ n: number }>(broker, 'SELECT COUNT(*) AS n FROM lost'))[0]!.n).toBeGreaterThan(RIDES);
    expect(await effectsIn(deployment.moduleDatabases)).not.toEqual(whole);
    // It goes on losing a third of whatever is sent again: each pass brings it nearer.
    const isWhole = async () => {
      await reconcile(deployment.url);
      await deployment.idle();
      return reconcile(deployment.url, '--dry-run');
    };
    await eventually(isWhole, ({ output }) => output.includes('missing: nothing'), 120_000);
    expect(await effectsIn(deployment.moduleDatabases)).toEqual(whole);
  }, 240_000);
});
