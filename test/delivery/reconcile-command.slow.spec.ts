import { execFile } from 'node:child_process';
import { copyFileSync, rmSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';
import { REACHED } from '../../src/demo.js';
import { ROOT } from '../../tools/source.js';
import { eventually } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';
import { read, write } from '../support/database-contents.js';
import { Deployment, effectsIn } from '../support/processes.js';
import { call, prepareRides, runConcurrently } from '../support/server.js';
import type { Route } from '../support/transports.js';
import { itThorough } from '../support/thorough.js';

/** Transits are examined as soon as they end, and runs start only on request. */
const ON_REQUEST = { MESH_RECONCILE_AFTER: 'PT0S', MESH_RECONCILE_EVERY: 'PT0S', MESH_RECONCILE_PACE: '10000' };

const IN_PROCESS: Route = { route: 'in process', transport: 'in-process' };
const SPLIT: Route = { route: 'split', transport: 'split' };
/** Only an asynchronous channel can lose a message that it has accepted. */
const LOSING: Route = { route: 'over an asynchronous channel', transport: 'knative', channel: 'asynchronous' };

describe('npm run reconcile', () => {
  const reconcile = (url: string, ...args: string[]) =>
    new Promise<{ code: number; output: string }>((resolve) => {
      const { NODE_OPTIONS: _, ...env } = process.env;
      const all = ['--import', 'tsx', 'tools/meshy.ts', 'reconcile', '--url', url, ...args];
      execFile(process.execPath, all, { cwd: ROOT, env }, (error, stdout, stderr) =>
        resolve({ code: error ? Number(error.code) : 0, output: stdout + stderr }),
      );
    });
  const TRANSITS = 12;
  const ALL_EFFECTS = { invoices: TRANSITS, fees: TRANSITS, miles: TRANSITS, transactions: TRANSITS, occupied: 0 };
  let deployment: Deployment;

  afterEach(() => deployment?.stop());

  async function settled(transits: readonly string[]): Promise<void> {
    await runConcurrently(6, transits.length, (n) =>
      call('POST', `${deployment.url}/transits/${transits[n]}/complete`, REACHED),
    );
    await deployment.idle();
  }

  it('repairs the databases of separate modules that were restored from older backups', async () => {
    deployment = await new Deployment(SPLIT, DATABASES[0]!.fresh, { ...ON_REQUEST, LOG_LEVEL: 'warn' }).start();
    const transits = await prepareRides(deployment.url, TRANSITS);
    const owners = ['invoicing', 'drivers', 'loyalty'].map((name) => deployment.services.get(name)!);
    const pathOf = ({ database }: { database: string }) => database.replace('sqlite:', '');
    const stop = () => Promise.all(owners.map((owner) => owner.process.end('SIGTERM')));
    const start = async () => {
      for (const owner of owners) owner.process = await owner.start();
    };
    await stop();
    for (const path of owners.map(pathOf)) copyFileSync(path, `${path}.backup`);
    await start();
    await settled(transits);
    expect(await effectsIn(deployment.moduleDatabases)).toEqual(ALL_EFFECTS);

    await stop();
    for (const path of owners.map(pathOf)) {
      for (const ending of ['', '-wal', '-shm']) rmSync(path + ending, { force: true });
      copyFileSync(`${path}.backup`, path);
    }
    // Rows of a module that doesn't respond don't count as missing.
    const withoutOwners = await reconcile(deployment.url);
    expect(withoutOwners).toMatchObject({ code: 1, output: expect.stringContaining('Interrupted') as string });
    await start();
    const lost = { invoices: 0, fees: 0, miles: 0, transactions: 0, occupied: TRANSITS };
    expect(await effectsIn(deployment.moduleDatabases)).toEqual(lost);
    const missing = ['driverFee', 'driverFreed', 'miles', 'invoice'].map((part) => `${part} ${TRANSITS}`).join(', ');
    const dry = await reconcile(deployment.url, '--dry-run');
    expect(dry).toMatchObject({ code: 0, output: expect.stringContaining(missing) as string });
    const done = await reconcile(deployment.url);
    expect(done.output).toContain(`rides: ${TRANSITS} examined, missing: ${missing}`);
    await deployment.idle();
    expect(await effectsIn(deployment.moduleDatabases)).toEqual(ALL_EFFECTS);
    expect((await reconcile(deployment.url)).output).toContain('missing: nothing');
  }, 180_000);

  it('says how many rides it skipped as too recent, and examines them with --after', async () => {
    deployment = await new Deployment(IN_PROCESS, DATABASES[0]!.fresh, { MESH_RECONCILE_EVERY: 'PT0S' }).start();
    await prepareRides(deployment.url, 2);
    await deployment.idle();
    const { output } = await reconcile(deployment.url);
    expect(output).toContain('rides: 0 examined, missing: nothing');
    expect(output).toContain(
      '2 were skipped, with a last change in the last 5 minutes or, by a wrong clock, in the future: ' +
        'messages may still be in flight. To examine all: npx meshy reconcile --after PT0S',
    );
    expect(await reconcile(deployment.url, '--after', 'PT0S')).toEqual({
      code: 0,
      output: 'rides: 2 examined, missing: nothing\n',
    });
    const full = await reconcile(deployment.url, '--after', 'PT0S', '--full');
    expect(full).toEqual({ code: 0, output: 'rides: 2 examined, missing: nothing\n' });
    const runs = await fetch(`${deployment.url}/mesh/reconciliations`);
    expect(await runs.json()).toMatchObject({ items: [{ isFull: true, minAgeMs: 0 }] });
    expect((await reconcile(deployment.url, '--after', 'PT1H')).output).toContain(
      '2 were skipped, with a last change in the last hour',
    );
    const invalid = await reconcile(deployment.url, '--after', '5m');
    expect(invalid).toMatchObject({
      code: 1,
      output: expect.stringContaining('after: expected an ISO 8601') as string,
    });
  }, 60_000);

  it("repairs deleted rows, and a module's database that was restored from an older backup, while more transits end", async () => {
    deployment = await new Deployment(SPLIT, DATABASES[0]!.fresh, { ...ON_REQUEST, LOG_LEVEL: 'warn' }).start();
    const [before, during] = [await prepareRides(deployment.url, TRANSITS), await prepareRides(deployment.url, 60)];
    const all = TRANSITS + during.length;
    const invoicing = deployment.services.get('invoicing')!;
    const path = invoicing.database.replace('sqlite:', '');
    await invoicing.process.end('SIGTERM');
    copyFileSync(path, `${path}.backup`);
    invoicing.process = await invoicing.start();
    await settled(before);

    const load = runConcurrently(2, during.length, async (n) => {
      await call('POST', `${deployment.url}/transits/${during[n]}/complete`, REACHED);
      await wait(150);
    });
    await wait(500);
    await write(deployment.services.get('drivers')!.database, 'DELETE FROM drivers_fee');
    await invoicing.process.end('SIGTERM');
    for (const end of ['', '-wal', '-shm']) rmSync(path + end, { force: true });
    copyFileSync(`${path}.backup`, path);
    invoicing.process = await invoicing.start();
    // Some of the missing effects are only pending: the inboxes drop the repeated commands.
    await reconcile(deployment.url);
    await load;
    const reconciled = async () => {
      await deployment.idle();
      return (await reconcile(deployment.url)).output;
    };
    await eventually(reconciled, (output) => output.includes('missing: nothing'), 120_000);
    expect(await effectsIn(deployment.moduleDatabases)).toEqual({
      invoices: all,
      fees: all,
      miles: all,
      transactions: all,
      occupied: 0,
    });
  }, 240_000);

  itThorough(
    'repairs the effects of a broker that keeps losing accepted messages under load',
    async () => {
      deployment = await new Deployment(LOSING, DATABASES[0]!.fresh, { ...ON_REQUEST, LOG_LEVEL: 'warn' }).start();
      const [transits, more] = [await prepareRides(deployment.url, TRANSITS), await prepareRides(deployment.url, 12)];
      const all = TRANSITS + more.length;
      const allEffects = { invoices: all, fees: all, miles: all, transactions: all, occupied: 0 };
      const broker = deployment.brokerDatabase;
      await write(
        broker,
        'CREATE TABLE lost (n integer)',
        // Loses a third of its deliveries.
        `CREATE TRIGGER loses AFTER INSERT ON mesh_delivery WHEN abs(random()) % 3 = 0
       BEGIN DELETE FROM mesh_delivery WHERE seq = NEW.seq; INSERT INTO lost VALUES (1); END`,
      );
      await settled(transits);
      const load = runConcurrently(2, more.length, async (n) => {
        await call('POST', `${deployment.url}/transits/${more[n]}/complete`, REACHED);
        await wait(100);
      });
      await reconcile(deployment.url);
      await load;
      expect((await read<{ n: number }>(broker, 'SELECT COUNT(*) AS n FROM lost'))[0]!.n).toBeGreaterThan(TRANSITS);
      expect(await effectsIn(deployment.moduleDatabases)).not.toEqual(allEffects);
      // The broker also loses a third of the repeated messages, so this takes several runs.
      const reconciled = async () => {
        await reconcile(deployment.url);
        await deployment.idle();
        return reconcile(deployment.url, '--dry-run');
      };
      await eventually(reconciled, ({ output }) => output.includes('missing: nothing'), 120_000);
      expect(await effectsIn(deployment.moduleDatabases)).toEqual(allEffects);
    },
    240_000,
  );
});
