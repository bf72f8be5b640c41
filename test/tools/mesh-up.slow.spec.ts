import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { MODULE_NAMES } from '../../src/app.module.js';
import { DEMO_RIDE } from '../../src/demo.js';
import { Database } from '../../src/infrastructure/persistence/database.js';
import { ROOT } from '../../tools/mesh-up/plan.js';
import { freePort } from '../../tools/ports.js';
import { eventually } from '../support/cabs.js';
import { runConcurrently, call, prepareRides, REACHED } from '../support/server.js';

/** As in the README. */
const BODY = '{"country":"Polska","city":"Warszawa","street":"Żytnia","buildingNumber":32,"hash":-580606919}';
const SETTLED = { driverFee: 'settled', driverFreed: 'settled', miles: 'settled', invoice: 'settled' };
const VICTIMS = ['drivers', 'broker', 'rides', 'gateway'];
const RIDES_EACH = 8;
/** Longest wait for the start, in ms; other tests may run at the same time. */
const START_MS = 100_000;

interface Ride {
  readonly status: string;
  readonly settlement?: Record<string, string>;
  readonly settlementSince?: string;
}

describe('npm run mesh:up', () => {
  const data = mkdtempSync(join(tmpdir(), 'mesh-up-'));
  let up: MeshUp | undefined;
  afterEach(() => {
    up?.process.kill('SIGKILL');
    for (const pid of up?.pids().filter(isAlive) ?? []) process.kill(pid, 'SIGKILL');
  });

  it('settles all transits once while processes are killed, and leaves no process behind', async () => {
    const { url, ports, output, pid, pids, end } = (up = await startMeshUp(await freePorts(), data));
    const second = spawnMeshUp(ports, data);
    expect(await once(second.process, 'exit')).toEqual([1, null]);
    expect(second.output()).toMatch(/^Ports \d+ \(gateway\), .* are taken: .*\n$/);
    expect(pids().filter(isAlive)).toHaveLength(9);
    // The first module: REST and the mesh have ports of their own.
    const statusAt = async (port: number) => (await fetch(`http://localhost:${port}/mesh/outbox`)).status;
    expect([await statusAt(ports.port + 10), await statusAt(ports.port + 30)]).toEqual([404, 200]);

    const answer = await fetch(`${url}/transits/${DEMO_RIDE}/complete`, {
      method: 'POST',
      body: BODY,
      headers: { 'content-type': 'application/json' },
    });
    expect(answer.status).toBe(202);
    expect(answer.headers.get('location')).toBe(`/transits/${DEMO_RIDE}`);
    const read = async (ride: string) => (await call<Ride>('GET', `${url}/transits/${ride}`)).body;
    const demo = await eventually(() => read(DEMO_RIDE), isSettled, 20_000);
    expect(demo).toMatchObject({ price: 5100, driverFee: 4856, settlement: SETTLED });
    expect(output()).toMatch(/broker +\S+ +delivered +cabs\.drivers\.calculate-fee/);

    await expectOneConsole(url);
    const rides = await prepareRides(url, VICTIMS.length * RIDES_EACH);
    for (const [index, victim] of VICTIMS.entries()) {
      const some = rides.slice(index * RIDES_EACH, (index + 1) * RIDES_EACH);
      const load = runConcurrently(RIDES_EACH, some.length, (it) =>
        completeTransit(`${url}/transits/${some[it]!}/complete`),
      );
      await wait(Math.random() * 100);
      const before = pid(victim);
      process.kill(before, 'SIGKILL');
      await load;
      await eventually(
        async () => pid(victim),
        (it) => it !== before,
      );
    }
    const settled = async (ride: string) => isSettled(await read(ride).catch(() => ({ status: 'unknown' })));
    for (const ride of rides) await eventually(() => settled(ride), Boolean, 40_000);
    const outbox = async () => (await call<Record<string, unknown>>('GET', `${url}/mesh/outbox`)).body;
    const atRest = await eventually(outbox, ({ pending }) => pending === 0, 20_000);
    expect(atRest).toMatchObject({ deadLetters: 0, processes: { drivers: { pending: 0 }, broker: { pending: 0 } } });
    expect(output()).not.toMatch(/Given up|does not start/);

    expect(await end('SIGINT')).toBe(0);
    expect(pids().filter(isAlive)).toEqual([]);
    const n = rides.length + 1;
    expect(await effects(data)).toEqual({ invoices: n, fees: n, miles: n, transactions: n, occupied: 0 });
  }, 150_000);

  it('leaves no process behind when it is killed', async () => {
    const { port } = await freePorts();
    const command = [
      '-e',
      `require('http').createServer((_, response) => response.end()).listen(${port}, '127.0.0.1')`,
    ];
    const planned = { name: 'child', port, url: `http://127.0.0.1:${port}`, readyPath: '/', command, environment: {} };
    const parent = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', PARENT], {
      cwd: ROOT,
      env: { PATH: process.env.PATH, PLANNED: JSON.stringify(planned) },
    });
    const [output] = (await once(parent.stdout, 'data')) as [Buffer];
    const pid = Number(output);
    expect(isAlive(pid)).toBe(true);
    parent.kill('SIGKILL');
    await eventually(
      async () => isAlive(pid),
      (it) => !it,
    );
  });
});

/** The console at the gateway shows all processes, and the journal of the demo ride, which several of them have handled. */
async function expectOneConsole(url: string): Promise<void> {
  const browser = { Accept: 'text/html' };
  const opened = await fetch(url, { headers: browser, redirect: 'manual' });
  expect([opened.status, opened.headers.get('location')]).toEqual([302, '/mesh/console']);
  const { body: session } = await call<{ consumers: string[]; actions: object[] }>(
    'GET',
    `${url}/mesh/console/session`,
  );
  expect(session.consumers.sort()).toEqual([...MODULE_NAMES].sort());
  expect(session.actions).toHaveLength(2);
  const { body: topology } = await call<{ modules: object[]; broker: string }>('GET', `${url}/mesh/console/topology`);
  expect(topology.modules).toEqual(MODULE_NAMES.map((name) => ({ name, isHosted: true })));
  const { body: journal } = await call<{ items: { consumer: string; handledAt: string }[] }>(
    'GET',
    `${url}/mesh/journal?subject=${DEMO_RIDE}&size=100`,
  );
  expect(new Set(journal.items.map(({ consumer }) => consumer)).size).toBe(5);
  const times = journal.items.map(({ handledAt }) => handledAt);
  expect(times).toEqual([...times].sort().reverse());
  const ended = new AbortController();
  const stream = await fetch(`${url}/mesh/console/stream`, { signal: ended.signal });
  const ids = new Set<string>();
  let text = '';
  for await (const chunk of stream.body!) {
    text += Buffer.from(chunk).toString();
    for (const [, id] of text.matchAll(/"process":{"id":"([^"]+)"/g)) ids.add(id!);
    // The modules, and the process that keeps the dead letters.
    if (ids.size === MODULE_NAMES.length + 1) break;
  }
  ended.abort();
}

/** A parent process that starts a child as mesh:up does. */
const PARENT = `
  import { Child } from './tools/mesh-up/child.ts';
  const child = new Child(JSON.parse(process.env.PLANNED), process.env, {});
  await child.start(20_000);
  console.log(child.pid);
`;

interface MeshUp {
  readonly url: string;
  readonly ports: { port: number; brokerPort: number };
  readonly process: ChildProcess;
  readonly output: () => string;
  /** The latest pid of a process, from the output. */
  readonly pid: (name: string) => number;
  /** The pids of all processes since the start. */
  readonly pids: () => number[];
  readonly end: (signal: NodeJS.Signals) => Promise<number | null>;
}

function spawnMeshUp({ port, brokerPort }: MeshUp['ports'], data: string) {
  const options = ['--port', String(port), '--broker-port', String(brokerPort), '--data', data];
  const child = spawn(process.execPath, ['--import', 'tsx', 'tools/mesh-up.ts', ...options], {
    cwd: ROOT,
    env: { PATH: process.env.PATH },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (output += String(chunk)));
  return { process: child as ChildProcess, output: () => output };
}

/** @throws Error with the output when mesh:up isn't ready in time */
async function startMeshUp(ports: MeshUp['ports'], data: string): Promise<MeshUp> {
  const { process: child, output } = spawnMeshUp(ports, data);
  const isOver = () => child.exitCode !== null || /Ctrl-C stops all processes/.test(output());
  await eventually(async () => isOver(), Boolean, START_MS - 5000).catch(() => child.kill('SIGKILL'));
  if (child.exitCode !== null || child.killed) throw new Error(`mesh:up does not start:\n${output()}`);
  const pidsOf = (name: string) =>
    [...output().matchAll(new RegExp(`^${name} +(?:started again: pid )?(\\d+)(?: |$)`, 'gm'))].map((it) =>
      Number(it[1]),
    );
  return {
    url: `http://localhost:${ports.port}`,
    ports,
    process: child,
    output,
    pid: (name) => pidsOf(name).at(-1)!,
    pids: () => pidsOf('[a-z-]+'),
    end: async (signal) => {
      const gone = once(child, 'exit');
      child.kill(signal);
      return ((await gone) as [number | null])[0];
    },
  };
}

/** Free ports for a gateway, a process for dead letters, six modules and a broker. */
async function freePorts(): Promise<MeshUp['ports']> {
  const port = await freePort(40);
  return { port, brokerPort: port + 20 };
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

/** Repeats a request until it is accepted. */
async function completeTransit(url: string): Promise<void> {
  for (;;) {
    const answer = await call('POST', url, REACHED).catch(() => undefined);
    if (answer) return;
    await wait(50);
  }
}

function isSettled({ status, settlementSince }: Ride): boolean {
  return status === 'COMPLETED' && !settlementSince;
}

/** Counts the effects of all completed transits in the databases of the modules. */
async function effects(data: string): Promise<Record<string, number>> {
  const count = async (module: string, statement: string) => {
    const database = await Database.open({
      database: `sqlite:${join(data, `${module}.db`)}`,
      entities: [],
      histories: [],
      migrate: false,
    });
    const [row] = await database.read.all<{ n: number }>(`SELECT ${statement}`);
    await database.close();
    return Number(row!.n);
  };
  return {
    invoices: await count('invoicing', 'COUNT(*) AS n FROM invoicing_invoice'),
    fees: await count('drivers', 'COUNT(*) AS n FROM drivers_fee'),
    miles: await count('loyalty', 'COUNT(*) AS n FROM loyalty_miles'),
    transactions: await count('loyalty', 'SUM(transactions) AS n FROM loyalty_account'),
    occupied: await count('drivers', `COUNT(*) AS n FROM drivers_occupancy WHERE state = 'OCCUPIED'`),
  };
}
