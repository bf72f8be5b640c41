import { execFile } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { promisify } from 'node:util';
import { MODULE_NAMES } from '../../src/app.module.js';
import { ROOT } from '../../tools/source.js';
import { freePort } from '../../tools/ports.js';
import { eventually } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';
import { effectsIn, startBrokerProcess } from '../support/processes.js';
import { atOnce, call, prepareRides, REACHED, startServer, type ServerProcess } from '../support/server.js';

const RIDES = 24;

/** Ends the rides, eight users at a time, each of whom tries again until somebody answers. */
async function completeAll(url: string, rides: readonly string[]): Promise<void> {
  await atOnce(8, rides.length, async (index) => {
    await wait(80);
    for (;;) {
      const isAccepted = await call('POST', `${url}/transits/${rides[index]!}/complete`, REACHED).then(
        () => true,
        () => false,
      );
      if (isAccepted) return;
      await wait(30);
    }
  });
}

interface Ride {
  readonly status: string;
  readonly settlementSince?: string;
}

async function allSettle(url: string, rides: readonly string[]): Promise<void> {
  for (const ride of rides) {
    const read = async () => (await call<Ride>('GET', `${url}/transits/${ride}`)).body;
    await eventually(read, ({ status, settlementSince }) => status === 'COMPLETED' && !settlementSince, 30_000);
  }
}

async function noneGivenUp(urls: readonly string[]): Promise<void> {
  for (const url of urls) {
    const statistics = async () =>
      (await call<{ pending: number; deadLetters: number }>('GET', `${url}/mesh/outbox`)).body;
    expect(await eventually(statistics, ({ pending }) => pending === 0, 20_000)).toMatchObject({ deadLetters: 0 });
  }
}

const ONCE = { invoices: RIDES, fees: RIDES, miles: RIDES, transactions: RIDES, occupied: 0 };

describe.each(DATABASES)('With messages pending on $kind', ({ fresh }) => {
  const running: ServerProcess[] = [];
  const keep = (process: ServerProcess) => (running.push(process), process);
  afterEach(async () => {
    await Promise.all(running.splice(0).map((process) => process.end('SIGKILL')));
  });
  const brokerDatabase = () => `sqlite:${join(mkdtempSync(join(tmpdir(), 'cabs-broker-')), 'mesh.db')}`;

  it('the transport is changed under load, there, back and there again, and nothing is lost or repeated', async () => {
    const [port, brokerPort] = [await freePort(), await freePort()];
    const url = `http://127.0.0.1:${port}`;
    const databaseUrl = await fresh();
    const common = { DATABASE_URL: databaseUrl, PORT: String(port), LOG_LEVEL: 'warn' };
    const knative = { MESH_TRANSPORT: 'knative', K_SINK: `http://127.0.0.1:${brokerPort}/cabs/default` };
    const services = { cabs: url, 'dead-letters': 'http://127.0.0.1:9' };
    const manifests = 'deploy/knative/monolith';
    let server = keep(await startServer(common));
    const rides = await prepareRides(url, RIDES);
    keep(await startBrokerProcess({ port: brokerPort, database: brokerDatabase(), manifests, services }));
    const load = completeAll(url, rides);
    for (const transport of [knative, { MESH_RECEIVE: 'true' }, knative]) {
      await wait(150);
      await server.end('SIGKILL');
      server = keep(await startServer({ ...common, ...transport }));
    }
    await load;
    await allSettle(url, rides);
    await noneGivenUp([url, `http://127.0.0.1:${brokerPort}`]);
    expect(await effectsIn([databaseUrl])).toEqual(ONCE);
  }, 180_000);

  it('a module leaves home under load, and nothing is lost or repeated', async () => {
    const [port, driversPort, brokerPort] = [await freePort(), await freePort(), await freePort()];
    const [url, driversUrl] = [`http://127.0.0.1:${port}`, `http://127.0.0.1:${driversPort}`];
    const [databaseUrl, driversDatabaseUrl] = [await fresh(), await fresh()];
    const knative = {
      MESH_TRANSPORT: 'knative',
      K_SINK: `http://127.0.0.1:${brokerPort}/cabs/default`,
      LOG_LEVEL: 'warn',
    };
    const monolith = { ...knative, DATABASE_URL: databaseUrl, PORT: String(port) };
    const atHome = Object.fromEntries([...MODULE_NAMES, 'dead-letters'].map((name) => [name, url]));
    const database = brokerDatabase();
    const broker = (services: Record<string, string>) =>
      startBrokerProcess({ port: brokerPort, database, manifests: 'deploy/knative/split', services });
    let server = keep(await startServer(monolith));
    let mesh = keep(await broker(atHome));
    const rides = await prepareRides(url, RIDES);
    const load = completeAll(url, rides);
    await wait(300);
    await server.end('SIGKILL');
    await mesh.end('SIGKILL');

    const words = ['--import', 'tsx', 'tools/extract.ts', 'drivers', '--to', driversDatabaseUrl];
    const environment = { PATH: process.env.PATH, DATABASE_URL: databaseUrl };
    await promisify(execFile)(process.execPath, words, { cwd: ROOT, env: environment });

    const others = MODULE_NAMES.filter((name) => name !== 'drivers').join();
    mesh = keep(await broker({ ...atHome, drivers: driversUrl }));
    keep(
      await startServer({
        ...knative,
        MODULES: 'drivers',
        DATABASE_URL: driversDatabaseUrl,
        PORT: String(driversPort),
      }),
    );
    server = keep(await startServer({ ...monolith, MODULES: others, USVC_DRIVERS: driversUrl }));
    await load;
    await allSettle(url, rides);
    await noneGivenUp([url, driversUrl, mesh.url]);
    expect(await effectsIn([databaseUrl, driversDatabaseUrl])).toEqual(ONCE);
    // A query finds its way to where the module is now.
    const [driver] = [await call<{ id: number }>('POST', `${driversUrl}/drivers`, NEW_DRIVER)];
    const rejected = await call('POST', `${url}/transits/${(await openRide(url)).id}/reject`, {
      driverId: driver.body.id,
    });
    expect(rejected.status).toBe(200);
  }, 180_000);
});

const NEW_DRIVER = { firstName: 'Ada', lastName: 'Byron', driverLicense: 'FARME100165AB5EW' };

async function openRide(url: string): Promise<{ id: string }> {
  const client = await call<{ id: number }>('POST', `${url}/clients`, { name: 'Jane', lastName: 'Roe' });
  const order = { clientId: client.body.id, from: REACHED, to: { ...REACHED, buildingNumber: 1 } };
  const { body } = await call<{ id: string }>('POST', `${url}/transits`, order);
  await call('POST', `${url}/transits/${body.id}/publish`);
  return body;
}
