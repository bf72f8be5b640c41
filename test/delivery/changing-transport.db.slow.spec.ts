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
import { effectsIn, startBrokerProcess } from '../support/processes.js';
import { call, prepareRides, REACHED, runConcurrently, startServer, type ServerProcess } from '../support/server.js';
import { ONE_DATABASE } from '../support/thorough.js';

const TRANSITS = 24;

/** Completes the transits, eight at a time. Each request is repeated until it succeeds. */
async function completeAll(url: string, transits: readonly string[]): Promise<void> {
  await runConcurrently(8, transits.length, async (index) => {
    await wait(80);
    for (;;) {
      const isAccepted = await call('POST', `${url}/transits/${transits[index]!}/complete`, REACHED).then(
        () => true,
        () => false,
      );
      if (isAccepted) return;
      await wait(30);
    }
  });
}

interface Transit {
  readonly status: string;
  readonly settlementSince?: string;
}

async function expectSettled(url: string, transits: readonly string[]): Promise<void> {
  for (const transit of transits) {
    const read = async () => (await call<Transit>('GET', `${url}/transits/${transit}`)).body;
    await eventually(read, ({ status, settlementSince }) => status === 'COMPLETED' && !settlementSince);
  }
}

async function expectNoDeadLetters(urls: readonly string[]): Promise<void> {
  for (const url of urls) {
    const statistics = async () =>
      (await call<{ pending: number; deadLetters: number }>('GET', `${url}/mesh/outbox`)).body;
    expect(await eventually(statistics, ({ pending }) => pending === 0)).toMatchObject({ deadLetters: 0 });
  }
}

const EACH_ONCE = { invoices: TRANSITS, fees: TRANSITS, miles: TRANSITS, transactions: TRANSITS, occupied: 0 };

describe.each(ONE_DATABASE)('An application under load on $kind', ({ fresh }) => {
  const running: ServerProcess[] = [];
  const keep = (process: ServerProcess) => (running.push(process), process);
  afterEach(async () => {
    await Promise.all(running.splice(0).map((process) => process.end('SIGKILL')));
  });
  const brokerDatabase = () => `sqlite:${join(mkdtempSync(join(tmpdir(), 'cabs-broker-')), 'mesh.db')}`;

  it('loses and repeats no message when the transport changes to the broker, back, and to the broker again', async () => {
    const [port, brokerPort] = [await freePort(), await freePort()];
    const url = `http://127.0.0.1:${port}`;
    const databaseUrl = await fresh();
    const common = { DATABASE_URL: databaseUrl, PORT: String(port), LOG_LEVEL: 'warn' };
    const knative = { MESH_TRANSPORT: 'knative', K_SINK: `http://127.0.0.1:${brokerPort}/cabs/default` };
    const services = { cabs: url, 'dead-letters': 'http://127.0.0.1:9' };
    const manifests = 'deploy/knative/monolith';
    let server = keep(await startServer(common));
    const transits = await prepareRides(url, TRANSITS);
    keep(await startBrokerProcess({ port: brokerPort, database: brokerDatabase(), manifests, services }));
    const load = completeAll(url, transits);
    for (const transport of [knative, { MESH_RECEIVE: 'true' }, knative]) {
      await wait(150);
      await server.end('SIGKILL');
      server = keep(await startServer({ ...common, ...transport }));
    }
    await load;
    await expectSettled(url, transits);
    await expectNoDeadLetters([url, `http://127.0.0.1:${brokerPort}`]);
    expect(await effectsIn([databaseUrl])).toEqual(EACH_ONCE);
  }, 180_000);

  it('loses and repeats no message when a module moves to a process and database of its own', async () => {
    const [port, driversPort, brokerPort] = [await freePort(), await freePort(), await freePort()];
    const [url, driversUrl] = [`http://127.0.0.1:${port}`, `http://127.0.0.1:${driversPort}`];
    const [databaseUrl, driversDatabaseUrl] = [await fresh(), await fresh()];
    const knative = {
      MESH_TRANSPORT: 'knative',
      K_SINK: `http://127.0.0.1:${brokerPort}/cabs/default`,
      LOG_LEVEL: 'warn',
    };
    const monolith = { ...knative, DATABASE_URL: databaseUrl, PORT: String(port) };
    const hostedByMonolith = Object.fromEntries([...MODULE_NAMES, 'dead-letters'].map((name) => [name, url]));
    const database = brokerDatabase();
    const broker = (services: Record<string, string>) =>
      startBrokerProcess({ port: brokerPort, database, manifests: 'deploy/knative/split', services });
    let server = keep(await startServer(monolith));
    let mesh = keep(await broker(hostedByMonolith));
    const transits = await prepareRides(url, TRANSITS);
    const load = completeAll(url, transits);
    await wait(300);
    await server.end('SIGKILL');
    await mesh.end('SIGKILL');

    const args = ['--import', 'tsx', 'tools/extract.ts', 'drivers', '--to', driversDatabaseUrl];
    const environment = { PATH: process.env.PATH, DATABASE_URL: databaseUrl };
    await promisify(execFile)(process.execPath, args, { cwd: ROOT, env: environment });

    const others = MODULE_NAMES.filter((name) => name !== 'drivers').join();
    mesh = keep(await broker({ ...hostedByMonolith, drivers: driversUrl }));
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
    await expectSettled(url, transits);
    await expectNoDeadLetters([url, driversUrl, mesh.url]);
    expect(await effectsIn([databaseUrl, driversDatabaseUrl])).toEqual(EACH_ONCE);
    // Queries reach the module in its new process.
    const [driver] = [await call<{ id: number }>('POST', `${driversUrl}/drivers`, NEW_DRIVER)];
    const rejected = await call('POST', `${url}/transits/${(await openTransit(url)).id}/reject`, {
      driverId: driver.body.id,
    });
    expect(rejected.status).toBe(200);
  }, 180_000);
});

const NEW_DRIVER = { firstName: 'Ada', lastName: 'Byron', driverLicense: 'FARME100165AB5EW' };

async function openTransit(url: string): Promise<{ id: string }> {
  const client = await call<{ id: number }>('POST', `${url}/clients`, { name: 'Jane', lastName: 'Roe' });
  const order = { clientId: client.body.id, from: REACHED, to: { ...REACHED, buildingNumber: 1 } };
  const { body } = await call<{ id: string }>('POST', `${url}/transits`, order);
  await call('POST', `${url}/transits/${body.id}/publish`);
  return body;
}
