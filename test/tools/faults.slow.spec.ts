import { execFile } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer, request, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import type { Type } from '@nestjs/common';
import { COMBINATIONS } from '../../faults/combinations.js';
import { duplicated } from '../../faults/connections.js';
import { count } from '../../faults/count.js';
import type { DatabaseContents, TransitState } from '../../faults/database-contents.js';
import type { Handling } from '../../faults/handlings.js';
import { DeliveryProxy } from '../../faults/delivery-proxy.js';
import { Ledger, type Action } from '../../faults/ledger.js';
import { TcpProxy } from '../../faults/tcp-proxy.js';
import { Service, type UnexpectedExit } from '../../faults/service.js';
import { Random } from '../../faults/random.js';
import type { TestBed } from '../../faults/test-bed.js';
import { isClean, run, type Result } from '../../faults/run.js';
import { Users } from '../../faults/users.js';
import { MODULES } from '../../src/app.module.js';
import { commandOf, eventsOf } from '../../src/infrastructure/contracts/mesh-feature.js';
import { ROOT } from '../../tools/source.js';
import type { RideFixture } from '../../workshop/runner/fixtures.js';
import { eventually } from '../support/cabs.js';
import { postgresBinaries } from '../../tools/postgres-server.js';
import { IS_THOROUGH } from '../support/thorough.js';

const MINUTES = IS_THOROUGH ? '2' : '0.7';
const RIG = ['--import', './workshop/runner/typescript.mjs', 'faults/faults.ts'];

interface CommandResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

function faults(...args: string[]): Promise<CommandResult> {
  const { NODE_OPTIONS: _, ...env } = process.env;
  return new Promise((resolve) => {
    execFile(process.execPath, [...RIG, ...args], { cwd: ROOT, env }, (error, stdout, stderr) =>
      resolve({ code: error ? Number(error.code) : 0, stdout, stderr }),
    );
  });
}

describe('npm run faults', () => {
  it('finds nothing lost, duplicated or stuck', async () => {
    const onPostgres = IS_THOROUGH && postgresBinaries() ? ',postgres-split' : '';
    const only = `sqlite-knative,sqlite-knative-asynchronous${onPostgres}`;
    const { code, stdout, stderr } = await faults('--minutes', MINUTES, '--seed', '3', '--only', only);
    expect({ code, report: `${stderr}\n${stdout}` }).toMatchObject({ code: 0 });
    expect(stdout).toContain(`npm run faults -- --minutes ${MINUTES} --seed 3 --only ${only}`);
    const rows = [...stdout.matchAll(/^((?:sqlite|postgres)-\S+) +(\d+) +(\d+) +(.*)$/gm)];
    expect(rows.map(([, combination]) => combination)).toEqual(only.split(','));
    for (const [, , accepted, settled, rest] of rows) {
      expect(Number(accepted)).toBeGreaterThan(30);
      expect(settled).toBe(accepted);
      // Lost, duplicated, dead, stuck and disordered.
      expect(rest).toMatch(/^0 +0 +0 +0 +0 /);
    }
    expect(Number(/^Kills: (\d+)/m.exec(stdout)![1])).toBeGreaterThan(0);
  }, 180_000);

  it.each([
    [['--minutes', 'x'], 'Invalid --minutes "x": expected a number above 0.'],
    [['--seed', '1.5'], 'Invalid --seed "1.5": expected an integer.'],
    [['--only', 'mysql'], 'Invalid --only "mysql": no combination, database, transport or fault has this name.'],
    [['--loud'], "Unknown option '--loud'"],
  ])('refuses %j', async (args, message) => {
    const { code, stderr } = await faults(...args);
    expect(code).toBe(2);
    expect(stderr).toContain(`${message}\n\nnpm run faults`);
  });
});

/** Defects that the test plants in completed transits. `$n` stands for the id of the n-th completed transit. */
const PLANTED: readonly [statement: string, defect: RegExp][] = [
  [`DELETE FROM invoicing_invoice WHERE transit_id = $0`, /^no invoice$/],
  [`UPDATE rides_transit SET status = 'IN_TRANSIT' WHERE id = $1`, /^complete is lost$/],
  ['CREATE TABLE twice AS SELECT * FROM drivers_fee', /^$/],
  ['DROP TABLE drivers_fee', /^$/],
  ['ALTER TABLE twice RENAME TO drivers_fee', /^$/],
  ['INSERT INTO drivers_fee SELECT * FROM drivers_fee WHERE transit_id = $2', /^2 fees \(COMPLETED\)$/],
  [
    `INSERT INTO mesh_delivery (consumer, id, type, partition_key, event, created_at, due_at)
     VALUES ('rides', 'x', 'planted.delivery', $3, json_object('subject', $3), 0, 0)`,
    /^planted.delivery has not arrived$/,
  ],
  [
    `INSERT INTO mesh_dead_letter (id, consumer, event_id, type, subject, event, attempts, cause, error, dead_at)
     VALUES ('x', 'rides', 'x', 'planted.letter', $4, json_object('subject', $4), 1, 'x', 'x', 0)`,
    /^planted.letter is a dead letter$/,
  ],
  [`UPDATE drivers_occupancy SET state = 'OCCUPIED' WHERE transit_id = $5`, /^its driver is not free$/],
  [`UPDATE rides_transit SET miles_settled = 'pending' WHERE id = $6`, /^miles is not settled$/],
];

/** All messages that are handled for the transit `r`: by their owners, and the owners' answers by rides. */
const HANDLED: readonly Handling[] = [
  'rides.complete-transit',
  'drivers.calculate-fee',
  'drivers.driver-free',
  'loyalty.register-miles',
  'invoicing.issue-invoice',
  'drivers.driver-fee',
  'drivers.driver-freed',
  'loyalty.miles-registered',
  'invoicing.invoice-issued',
].map((name, index) => ({
  consumer: index < 5 ? name.split('.')[0]! : 'rides',
  type: `cabs.${name}`,
  subject: 'r',
  event_id: `${index}`,
  partition_key: 'r',
  cause: index === 0 ? null : index < 5 ? '0' : `${index - 4}`,
  attempts: 0,
}));

/** The driver is freed before the fee is calculated: the reverse of the order of sending. */
function swapped(late: Partial<Handling> = {}): Handling[] {
  const [complete, fee, free, ...rest] = HANDLED;
  return [complete!, free!, { ...fee!, ...late }, ...rest];
}

describe('The fault rig finds defects', () => {
  const folder = mkdtempSync(join(tmpdir(), 'cabs-faults-test-'));
  chmodSync(folder, 0o755);
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it('that are planted in the databases of a run', async () => {
    const completed: string[] = [];
    const beforeCount = async (testBed: TestBed) => {
      const [database] = testBed.moduleDatabases;
      const { select } = await import('../../faults/databases.js');
      const rows = await select<{ id: string }>([database!], `SELECT id FROM rides_transit WHERE status = 'COMPLETED'`);
      completed.push(...rows.map(({ id }) => id));
      const statements = PLANTED.map(([it]) => it.replace(/\$(\d)/g, (_, n: string) => `'${completed[Number(n)]}'`));
      await testBed.execute(database!, statements);
    };
    const combination = COMBINATIONS.find(({ name }) => name === 'sqlite-in-process')!;
    const options = { combination, random: new Random(1), ms: 3000, folder: join(folder, 'run'), faults: [] };
    const result = await run({ ...options, log: () => undefined, beforeCount });
    expect(result).toMatchObject({ lost: 1, dead: 1, stuck: 5, surprises: [] });
    // The second duplicate: the transit that is set back to IN_TRANSIT still has miles.
    expect(result.duplicated).toBe(2);
    expect(isClean(result)).toBe(false);
    for (const [statement, defect] of PLANTED) {
      const [, n] = /\$(\d)/.exec(statement) ?? [];
      if (n !== undefined)
        expect(defectsOf(result, completed[Number(n)]!)).toContainEqual(expect.stringMatching(defect));
    }
  }, 60_000);

  it('in an application whose inbox forgets messages', async () => {
    const beforeLoad = (testBed: TestBed) =>
      testBed.execute(testBed.moduleDatabases[0]!, [
        'CREATE TRIGGER forget AFTER INSERT ON mesh_inbox BEGIN DELETE FROM mesh_inbox WHERE rowid = NEW.rowid; END',
      ]);
    const combination = COMBINATIONS.find(({ name }) => name === 'sqlite-in-process')!;
    const options = { combination, random: new Random(2), ms: 4000, folder: join(folder, 'forgetful') };
    const result = await run({ ...options, faults: [duplicated], log: () => undefined, beforeLoad });
    expect(result.accepted).toBeGreaterThan(0);
    expect(result.duplicated).toBeGreaterThan(0);
    expect(result.defects.map(({ what }) => what)).toContainEqual(
      expect.stringMatching(/^loyalty has handled cabs\.loyalty\.register-miles \S+ \d times$/),
    );
    // Unique keys hide the duplicates in the modules' tables, so only the rows of the agent show them.
    expect(result.defects.filter(({ what }) => !/ has handled /.test(what))).toEqual([]);
    expect(isClean(result)).toBe(false);
  }, 60_000);

  it('in a run without any accepted request', () => {
    const nothing = { accepted: 0, settled: 0, lost: 0, duplicated: 0, dead: 0, stuck: 0, disordered: 0, defects: [] };
    const result = { ...nothing, combination: 'x', kills: 0, faults: {}, surprises: [], leftOut: [] };
    expect(isClean(result)).toBe(false);
    expect(isClean({ ...result, accepted: 1 })).toBe(true);
  });

  const settledTransit: TransitState = {
    status: 'COMPLETED',
    settled: ['driver_fee', 'driver_freed', 'miles', 'invoice'],
    clientId: 1,
    fees: 1,
    miles: 1,
    invoices: 1,
    occupied: false,
  };
  const contents = (transit: Partial<TransitState>, more: Partial<DatabaseContents> = {}): DatabaseContents => ({
    transits: new Map([['r', { ...settledTransit, ...transit }]]),
    clients: new Set(['1']),
    drivers: new Set(['2']),
    accounts: new Map([['1', 1]]),
    active: new Set(['1']),
    pending: [],
    deadLetters: [],
    handlings: HANDLED,
    ...more,
  });
  const counted = (found: DatabaseContents, ...actions: readonly Action[]) => {
    const ledger = new Ledger();
    for (const action of ['request', ...actions] as const) ledger.record(action, 'r', 202);
    for (const action of ['client', 'account', 'activated'] as const) ledger.record(action, 1, 201);
    ledger.record('driver', 2, 201);
    const { defects: _, accepted: __, ...verdict } = count(ledger, found);
    return verdict;
  };
  const noDefects = { settled: 1, lost: 0, duplicated: 0, dead: 0, stuck: 0, disordered: 0 };
  const message = { type: 'x', subject: 'r' };

  it.each<[string, DatabaseContents, object]>([
    ['nothing', contents({}), noDefects],
    ['a lost transit', contents({}, { transits: new Map(), accounts: new Map([['1', 0]]) }), { lost: 1, settled: 0 }],
    ['a lost completion', contents({ status: 'IN_TRANSIT' }), { lost: 1, settled: 0, duplicated: 1 }],
    ['a transit that stays COMPLETING', contents({ status: 'COMPLETING' }), { stuck: 1, settled: 0, duplicated: 1 }],
    ['a lost client', contents({}, { clients: new Set() }), { lost: 1 }],
    ['an account whose activation is lost', contents({}, { active: new Set() }), { lost: 1 }],
    ['no miles', contents({ miles: 0 }, { accounts: new Map([['1', 0]]) }), { stuck: 1, settled: 0 }],
    ['miles that the account counted twice', contents({}, { accounts: new Map([['1', 2]]) }), { duplicated: 1 }],
    ['miles that the account did not count', contents({}, { accounts: new Map([['1', 0]]) }), { stuck: 1 }],
    ['two invoices', contents({ invoices: 2 }), { duplicated: 1, settled: 0 }],
    ['a driver who is not free', contents({ occupied: true }), { stuck: 1, settled: 0 }],
    ['a settlement that the transit does not know', contents({ settled: ['miles'] }), { stuck: 1, settled: 0 }],
    ['a pending message', contents({}, { pending: [message] }), { stuck: 1 }],
    ['a message that was handled twice', contents({}, { handlings: [...HANDLED, HANDLED[3]!] }), { duplicated: 1 }],
    [
      'a completion that became two messages',
      contents({}, { handlings: [...HANDLED, { ...HANDLED[0]!, event_id: 'other' }] }),
      { duplicated: 1 },
    ],
    ['a message that no consumer handled', contents({}, { handlings: HANDLED.slice(1) }), { stuck: 1, settled: 0 }],
    ['a message that overtook another', contents({}, { handlings: swapped() }), { disordered: 1 }],
    ['a message that was late because of a retry', contents({}, { handlings: swapped({ attempts: 1 }) }), {}],
    ['a message that a broker delivered late', contents({}, { handlings: swapped({ attempts: null }) }), {}],
    ['a dead letter', contents({}, { deadLetters: [message] }), { stuck: 1, dead: 1 }],
  ])('in databases with %s', (_, found, expected) =>
    expect(counted(found, 'start', 'complete')).toEqual({ ...noDefects, ...expected }),
  );

  const cancelled = { status: 'CANCELLED', settled: [], fees: 0, miles: 0, invoices: 0 };
  it.each<[string, Partial<TransitState>, Action, object]>([
    ['cancelled transit', {}, 'cancel', {}],
    ['cancelled transit whose driver is not free', { occupied: true }, 'cancel', { stuck: 1 }],
    ['lost cancellation', { status: 'TRANSIT_TO_PASSENGER', occupied: true }, 'cancel', { lost: 1 }],
    ['cancelled transit that had been started', {}, 'start', { lost: 1 }],
    ['cancelled transit with an invoice', { invoices: 1 }, 'cancel', { duplicated: 1 }],
  ])('in databases with a %s', (_, transit, action, expected) => {
    const found = contents({ ...cancelled, ...transit }, { handlings: [], accounts: new Map([['1', 0]]) });
    expect(counted(found, 'publish', 'accept', action)).toEqual({ ...noDefects, settled: 0, ...expected });
  });
});

function defectsOf({ defects }: Result, ride: string): string[] {
  return defects.filter(({ id }) => id === ride).map(({ what }) => what);
}

describe('The parts of the fault rig', () => {
  const received: string[] = [];
  let server: Server;
  beforeAll(async () => {
    server = createServer((incoming, response) => {
      received.push(incoming.url!);
      response.end('x'.repeat(1000));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  });
  afterAll(() => new Promise((resolve) => server.close(resolve)));
  beforeEach(() => received.splice(0));
  const port = () => (server.address() as AddressInfo).port;
  const post = (url: string) =>
    new Promise<number>((resolve, reject) => {
      const asking = request(url, { method: 'POST', agent: false }, (response) => {
        let length = 0;
        response.on('data', (chunk: Buffer) => (length += chunk.length));
        response.on('end', () => resolve(length));
        response.on('error', reject);
      });
      asking.on('error', reject);
      asking.end('{}');
    });

  it('cut connections, and forward everything before', async () => {
    const proxy = await TcpProxy.open(port(), new Random(1));
    expect(await post(proxy.url)).toBe(1000);
    proxy.cutProbability = 1;
    await expect(post(proxy.url)).rejects.toThrow(/hang up|reset|aborted/);
    proxy.close();
  });

  it('deliver twice', async () => {
    const proxy = await DeliveryProxy.open(`http://127.0.0.1:${port()}`, new Random(1));
    proxy.duplicateProbability = 1;
    expect(await post(`${proxy.url}/mesh/rides`)).toBe(1000);
    await eventually(
      async () => proxy.busy,
      (busy) => !busy,
    );
    expect(received).toEqual(['/mesh/rides', '/mesh/rides']);
    await proxy.close();
  });

  it('deliver in another order', async () => {
    const proxy = await DeliveryProxy.open(`http://127.0.0.1:${port()}`, new Random(1));
    proxy.delayProbability = 0.5;
    const paths = Array.from({ length: 8 }, (_, n) => `/${n}`);
    await Promise.all(paths.map((path) => post(proxy.url + path)));
    expect(received).not.toEqual(paths);
    expect([...received].sort()).toEqual(paths);
    await proxy.close();
  });

  it('shift the clock of a process, but not its timers', async () => {
    const script = `const before = performance.now();
      const shown = [new Date(0).getTime(), new Date() instanceof Date, new Date().getTime() - Date.now() < 50];
      console.log(JSON.stringify([...shown, Date.now(), performance.now() - before < 1000]))`;
    const args = ['--import', './faults/agent.mjs', '-e', script];
    const env = { PATH: process.env.PATH, FAULTS_STATE: '{"offsetMs":3600000}' };
    const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: ROOT, env });
    const [epoch, isDate, isSame, now, isEven] = JSON.parse(stdout) as [number, boolean, boolean, number, boolean];
    expect([epoch, isDate, isSame, isEven]).toEqual([0, true, true, true]);
    expect(Math.abs(now - Date.now() - 3_600_000)).toBeLessThan(5000);
  });

  it('report users who are never answered, and errors after recovery', async () => {
    const unavailable = createServer((_, response) =>
      response.writeHead(503, { 'content-type': 'application/json' }).end('{}'),
    );
    await new Promise<void>((resolve) => unavailable.listen(0, '127.0.0.1', resolve));
    const ledger = new Ledger();
    const users = new Users([`http://127.0.0.1:${(unavailable.address() as AddressInfo).port}`], ledger, new Random(1));
    const load = users.run([{ id: 'r' }] as RideFixture[], 100);
    await wait(200);
    expect(ledger.surprises).toEqual([]);
    await users.close(1500);
    await load;
    expect(ledger.surprises).toContain('POST /transits/r/complete after recovery: 503 {}');
    expect(ledger.surprises).toContain('/transits/r/complete (complete) until the end: 503 {}');
    unavailable.close();
  });

  it('report an unexpected exit of a process, but not a kill of their own', async () => {
    const exits: UnexpectedExit[] = [];
    const folder = mkdtempSync(join(tmpdir(), 'cabs-faults-service-'));
    const service = (script: string) => {
      const plan = { name: 'one', port: 1, readyPath: '/', command: ['-e', script], environment: {} };
      return new Service(plan, join(folder, 'log'), (exit) => exits.push(exit));
    };
    const exitOf = async (script: string) => {
      const one = service(script);
      one.start();
      await eventually(
        async () => exits.length,
        (length) => length > 0,
      );
      await one.stop();
      return exits.splice(0).map(({ how, hadStarted }) => ({ how, hadStarted }))[0];
    };
    expect(await exitOf('process.exit(3)')).toEqual({ how: 'with exit code 3', hadStarted: false });
    const listening = `require('net').createServer().listen(0, () =>`;
    expect(await exitOf(`${listening} setTimeout(() => process.exit(4), 100))`)).toEqual({
      how: 'with exit code 4',
      hadStarted: true,
    });
    const steady = service(`setInterval(() => 0, 1000)`);
    steady.start();
    steady.freeze();
    expect(steady.resume()).toBe(true);
    expect(steady.resume()).toBe(false);
    steady.kill();
    expect(await steady.stop()).toBeUndefined();
    expect(exits).toEqual([]);
    rmSync(folder, { recursive: true });
  });

  it('disturb and record every handler of durable messages', async () => {
    const script = `const { disturbed } = await import('./faults/agent.mjs');
      console.log(JSON.stringify(disturbed))`;
    const args = ['--import', './faults/agent.mjs', '--input-type=module', '-e', script];
    const env = { PATH: process.env.PATH, FAULTS_APPLICATION: pathToFileURL(join(ROOT, 'dist/src')).href };
    const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: ROOT, env });
    const providers = MODULES.flatMap((it) => Reflect.getMetadata('providers', it) as Type[]);
    const durable = providers.filter((it) => commandOf(it)?.kind ?? eventsOf(it).length > 0);
    expect(durable.map(({ name }) => name)).toContain('WaitOnDriverRefused');
    expect((JSON.parse(stdout) as string[]).sort()).toEqual(durable.map(({ name }) => name).sort());
  });

  it('draw the same numbers from the same seed', () => {
    const drawn = (seed: number) => Array.from({ length: 5 }, () => new Random(seed).next());
    expect(drawn(1)).toEqual(drawn(1));
    expect(drawn(1)).not.toEqual(drawn(2));
    const many = new Random(3);
    const mean = Array.from({ length: 10_000 }, () => many.next()).reduce((sum, it) => sum + it, 0) / 10_000;
    expect(mean).toBeCloseTo(0.5, 1);
  });
});
