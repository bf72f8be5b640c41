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
import { count, type Books, type Found, type Handling } from '../../faults/count.js';
import { Courier } from '../../faults/delivery-proxy.js';
import { Ledger } from '../../faults/ledger.js';
import { Line } from '../../faults/tcp-proxy.js';
import { Member, type Death } from '../../faults/service.js';
import { Random } from '../../faults/random.js';
import type { Stand } from '../../faults/test-bed.js';
import { isClean, run, type Result } from '../../faults/run.js';
import { Users } from '../../faults/users.js';
import { MODULES } from '../../src/app.module.js';
import { handlesCommand, listensTo } from '../../src/infrastructure/contracts/mesh-feature.js';
import { ROOT } from '../../tools/source.js';
import type { RideFixture } from '../../workshop/runner/fixtures.js';
import { eventually } from '../support/cabs.js';
import { postgresBinaries } from '../support/postgres.js';

const RIG = ['--import', './workshop/runner/typescript.mjs', 'faults/faults.ts'];

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

function faults(...words: string[]): Promise<Ended> {
  const { NODE_OPTIONS: _, ...env } = process.env;
  return new Promise((resolve) => {
    execFile(process.execPath, [...RIG, ...words], { cwd: ROOT, env }, (error, stdout, stderr) =>
      resolve({ code: error ? Number(error.code) : 0, stdout, stderr }),
    );
  });
}

describe('npm run faults', () => {
  it('loses nothing, doubles nothing, and leaves nothing stuck', async () => {
    const only = postgresBinaries() ? 'sqlite-in-process,postgres-split' : 'sqlite-in-process';
    const { code, stdout, stderr } = await faults('--minutes', '1', '--seed', '3', '--only', only);
    expect({ code, report: `${stderr}\n${stdout}` }).toMatchObject({ code: 0 });
    expect(stdout).toContain(`npm run faults -- --minutes 1 --seed 3 --only ${only}`);
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
    [['--minutes', 'x'], '--minutes x is no time'],
    [['--seed', '1.5'], '--seed 1.5 is no whole number'],
    [['--only', 'mysql'], 'There is no mysql'],
    [['--loud'], '--loud'],
  ])('refuses %j', async (words, says) => {
    const { code, stderr } = await faults(...words);
    expect(code).toBe(1);
    expect(stderr).toContain(says);
    expect(stderr).toContain('npm run faults -- [options]');
  });
});

/** What somebody breaks behind the rig's back, in a ride that is over. `$n` is the n-th of them. */
const PLANTED: readonly [statement: string, remark: RegExp][] = [
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

/** What is handled for the ride `r`, each message by its owner, and the owners' answers by rides. */
const HANDLED: readonly Handling[] = [
  ...['rides.complete-transit', 'drivers.calculate-fee', 'drivers.driver-free', 'loyalty.register-miles'],
  ...['invoicing.issue-invoice', 'drivers.driver-fee', 'drivers.driver-freed', 'loyalty.miles-registered'],
  'invoicing.invoice-issued',
].map((name, index) => ({
  ...{ consumer: index < 5 ? name.split('.')[0]! : 'rides', type: `cabs.${name}`, subject: 'r', event_id: `${index}` },
  ...{ partition_key: 'r', cause: index === 0 ? null : index < 5 ? '0' : `${index - 4}`, attempts: 0 },
}));

/** The driver is freed before the fee is calculated. */
function swapped(late: Partial<Handling> = {}): Handling[] {
  const [complete, fee, free, ...rest] = HANDLED;
  return [complete!, free!, { ...fee!, ...late }, ...rest];
}

describe('The rig finds what is broken', () => {
  const folder = mkdtempSync(join(tmpdir(), 'cabs-faults-test-'));
  chmodSync(folder, 0o755);
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it('in the databases of a run', async () => {
    const over: string[] = [];
    const plant = async (stand: Stand) => {
      const [place] = stand.moduleDatabases;
      const { select } = await import('../../faults/databases.js');
      const rows = await select<{ id: string }>([place!], `SELECT id FROM rides_transit WHERE status = 'COMPLETED'`);
      over.push(...rows.map(({ id }) => id));
      const statements = PLANTED.map(([it]) => it.replace(/\$(\d)/g, (_, n: string) => `'${over[Number(n)]}'`));
      await stand.insist(place!, statements);
    };
    const combination = COMBINATIONS.find(({ name }) => name === 'sqlite-in-process')!;
    const options = { combination, random: new Random(1), ms: 3000, folder: join(folder, 'run'), faults: [] };
    const result = await run({ ...options, tell: () => undefined, plant });
    expect(result).toMatchObject({ lost: 1, dead: 1, stuck: 5, surprises: [] });
    // The miles of the ride that is not over any more are too many as well.
    expect(result.duplicated).toBe(2);
    expect(isClean(result)).toBe(false);
    for (const [statement, remark] of PLANTED) {
      const [, n] = /\$(\d)/.exec(statement) ?? [];
      if (n !== undefined) expect(remarksOn(result, over[Number(n)]!)).toContainEqual(expect.stringMatching(remark));
    }
  }, 60_000);

  it('in an application that forgets what it has handled', async () => {
    const spoil = (stand: Stand) =>
      stand.insist(stand.moduleDatabases[0]!, [
        'CREATE TRIGGER forget AFTER INSERT ON mesh_inbox BEGIN DELETE FROM mesh_inbox WHERE rowid = NEW.rowid; END',
      ]);
    const combination = COMBINATIONS.find(({ name }) => name === 'sqlite-in-process')!;
    const options = { combination, random: new Random(2), ms: 4000, folder: join(folder, 'forgetful') };
    const result = await run({ ...options, faults: [duplicated], tell: () => undefined, spoil });
    expect(result.accepted).toBeGreaterThan(0);
    expect(result.duplicated).toBeGreaterThan(0);
    expect(result.remarks.map(({ what }) => what)).toContainEqual(
      expect.stringMatching(/^loyalty has handled cabs\.loyalty\.register-miles \S+ \d times$/),
    );
    // Its modules have unique keys: without the notes of the agent, nobody would see it.
    expect(result.remarks.filter(({ what }) => !/ has handled /.test(what))).toEqual([]);
    expect(isClean(result)).toBe(false);
  }, 60_000);

  it('in a run in which nobody was told anything', () => {
    const nothing = { accepted: 0, settled: 0, lost: 0, duplicated: 0, dead: 0, stuck: 0, disordered: 0, remarks: [] };
    const result = { ...nothing, combination: 'x', kills: 0, faults: {}, surprises: [], leftOut: [] };
    expect(isClean(result)).toBe(false);
    expect(isClean({ ...result, accepted: 1 })).toBe(true);
  });

  const whole: Found = {
    ...{ status: 'COMPLETED', settled: ['driver_fee', 'driver_freed', 'miles', 'invoice'], clientId: 1 },
    ...{ fees: 1, miles: 1, invoices: 1, occupied: false },
  };
  const books = (ride: Partial<Found>, more: Partial<Books> = {}): Books => ({
    ...{ rides: new Map([['r', { ...whole, ...ride }]]), clients: new Set(['1']), drivers: new Set(['2']) },
    ...{ accounts: new Map([['1', 1]]), active: new Set(['1']), waiting: [], dead: [], handlings: HANDLED },
    ...more,
  });
  const counted = (found: Books) => {
    const ledger = new Ledger();
    for (const deed of ['request', 'start', 'complete'] as const) ledger.note(deed, 'r', 202);
    for (const deed of ['client', 'account', 'activated'] as const) ledger.note(deed, 1, 201);
    ledger.note('driver', 2, 201);
    const { remarks: _, accepted: __, ...verdict } = count(ledger, found);
    return verdict;
  };
  const fine = { settled: 1, lost: 0, duplicated: 0, dead: 0, stuck: 0, disordered: 0 };
  const message = { type: 'x', subject: 'r' };

  it.each<[string, Books, object]>([
    ['nothing', books({}), fine],
    ['a ride that is gone', books({}, { rides: new Map(), accounts: new Map([['1', 0]]) }), { lost: 1, settled: 0 }],
    ['a completion that is gone', books({ status: 'IN_TRANSIT' }), { lost: 1, settled: 0, duplicated: 1 }],
    ['a ride that goes on completing', books({ status: 'COMPLETING' }), { stuck: 1, settled: 0, duplicated: 1 }],
    ['a client who is gone', books({}, { clients: new Set() }), { lost: 1 }],
    ['an account that is inactive again', books({}, { active: new Set() }), { lost: 1 }],
    ['no miles', books({ miles: 0 }, { accounts: new Map([['1', 0]]) }), { stuck: 1, settled: 0 }],
    ['miles that the account has counted twice', books({}, { accounts: new Map([['1', 2]]) }), { duplicated: 1 }],
    ['miles that the account has not counted', books({}, { accounts: new Map([['1', 0]]) }), { stuck: 1 }],
    ['two invoices', books({ invoices: 2 }), { duplicated: 1, settled: 0 }],
    ['a driver who is not free', books({ occupied: true }), { stuck: 1, settled: 0 }],
    ['an answer that did not arrive', books({ settled: ['miles'] }), { stuck: 1, settled: 0 }],
    ['a message that waits', books({}, { waiting: [message] }), { stuck: 1 }],
    ['a message that was handled twice', books({}, { handlings: [...HANDLED, HANDLED[3]!] }), { duplicated: 1 }],
    [
      'an end that became two messages',
      books({}, { handlings: [...HANDLED, { ...HANDLED[0]!, event_id: 'other' }] }),
      { duplicated: 1 },
    ],
    ['a message that nobody has handled', books({}, { handlings: HANDLED.slice(1) }), { stuck: 1, settled: 0 }],
    ['a message that has overtaken another', books({}, { handlings: swapped() }), { disordered: 1 }],
    ['a message that was late after a failure', books({}, { handlings: swapped({ attempts: 1 }) }), {}],
    ['a message that a broker brought late', books({}, { handlings: swapped({ attempts: null }) }), {}],
    ['a dead letter', books({}, { dead: [message] }), { stuck: 1, dead: 1 }],
  ])('in books with %s', (_, found, expected) => expect(counted(found)).toEqual({ ...fine, ...expected }));
});

function remarksOn({ remarks }: Result, ride: string): string[] {
  return remarks.filter(({ id }) => id === ride).map(({ what }) => what);
}

describe('Its tools', () => {
  const seen: string[] = [];
  let server: Server;
  beforeAll(async () => {
    server = createServer((incoming, response) => {
      seen.push(incoming.url!);
      response.end('x'.repeat(1000));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  });
  afterAll(() => new Promise((resolve) => server.close(resolve)));
  beforeEach(() => seen.splice(0));
  const port = () => (server.address() as AddressInfo).port;
  const ask = (url: string) =>
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

  it('cut connections, and pass on everything until they do', async () => {
    const line = await Line.open(port(), new Random(1));
    expect(await ask(line.url)).toBe(1000);
    line.cutting = 1;
    await expect(ask(line.url)).rejects.toThrow(/hang up|reset|aborted/);
    line.close();
  });

  it('bring deliveries twice', async () => {
    const courier = await Courier.open(`http://127.0.0.1:${port()}`, new Random(1));
    courier.doubling = 1;
    expect(await ask(`${courier.url}/mesh/rides`)).toBe(1000);
    await eventually(
      async () => courier.busy,
      (busy) => !busy,
    );
    expect(seen).toEqual(['/mesh/rides', '/mesh/rides']);
    await courier.close();
  });

  it('bring deliveries in another order', async () => {
    const courier = await Courier.open(`http://127.0.0.1:${port()}`, new Random(1));
    courier.holding = 0.5;
    const paths = Array.from({ length: 8 }, (_, n) => `/${n}`);
    await Promise.all(paths.map((path) => ask(courier.url + path)));
    expect(seen).not.toEqual(paths);
    expect([...seen].sort()).toEqual(paths);
    await courier.close();
  });

  it('move the clock of a process, and nothing else of it', async () => {
    const script = `const before = performance.now();
      const shown = [new Date(0).getTime(), new Date() instanceof Date, new Date().getTime() - Date.now() < 50];
      console.log(JSON.stringify([...shown, Date.now(), performance.now() - before < 1000]))`;
    const words = ['--import', './faults/agent.mjs', '-e', script];
    const env = { PATH: process.env.PATH, FAULTS_STATE: '{"offsetMs":3600000}' };
    const { stdout } = await promisify(execFile)(process.execPath, words, { cwd: ROOT, env });
    const [epoch, isDate, isSame, now, isEven] = JSON.parse(stdout) as [number, boolean, boolean, number, boolean];
    expect([epoch, isDate, isSame, isEven]).toEqual([0, true, true, true]);
    expect(Math.abs(now - Date.now() - 3_600_000)).toBeLessThan(5000);
  });

  it('notice users who are never answered, and errors when all is well', async () => {
    const deaf = createServer((_, response) =>
      response.writeHead(503, { 'content-type': 'application/json' }).end('{}'),
    );
    await new Promise<void>((resolve) => deaf.listen(0, '127.0.0.1', resolve));
    const ledger = new Ledger();
    const users = new Users([`http://127.0.0.1:${(deaf.address() as AddressInfo).port}`], ledger, new Random(1));
    const load = users.come([{ id: 'r' }] as RideFixture[], 100);
    await wait(200);
    expect(ledger.surprises).toEqual([]);
    await users.close(1500);
    await load;
    expect(ledger.surprises).toContain('POST /transits/r/complete when all was well: 503 {}');
    expect(ledger.surprises).toContain('/transits/r/complete (complete) until the end: 503 {}');
    deaf.close();
  });

  it('notice a process that ends by itself, and know their own doing from that', async () => {
    const deaths: Death[] = [];
    const folder = mkdtempSync(join(tmpdir(), 'cabs-faults-member-'));
    const member = (script: string) => {
      const plan = { name: 'one', port: 1, readyPath: '/', command: ['-e', script], environment: {} };
      return new Member(plan, join(folder, 'log'), (death) => deaths.push(death));
    };
    const told = async (script: string) => {
      const one = member(script);
      one.start();
      await eventually(
        async () => deaths.length,
        (length) => length > 0,
      );
      await one.end();
      return deaths.splice(0).map(({ how, hadStarted }) => ({ how, hadStarted }))[0];
    };
    expect(await told('process.exit(3)')).toEqual({ how: 'with exit code 3', hadStarted: false });
    const listening = `require('net').createServer().listen(0, () =>`;
    expect(await told(`${listening} setTimeout(() => process.exit(4), 100))`)).toEqual({
      ...{ how: 'with exit code 4', hadStarted: true },
    });
    const steady = member(`setInterval(() => 0, 1000)`);
    steady.start();
    steady.stopTime();
    expect(steady.letTimeGoOn()).toBe(true);
    expect(steady.letTimeGoOn()).toBe(false);
    steady.kill();
    expect(await steady.end()).toBeUndefined();
    expect(deaths).toEqual([]);
    rmSync(folder, { recursive: true });
  });

  it('disturb and note every handler of durable messages', async () => {
    const script = `const { disturbed } = await import('./faults/agent.mjs');
      console.log(JSON.stringify(disturbed))`;
    const words = ['--import', './faults/agent.mjs', '--input-type=module', '-e', script];
    const env = { PATH: process.env.PATH, FAULTS_APPLICATION: pathToFileURL(join(ROOT, 'dist')).href };
    const { stdout } = await promisify(execFile)(process.execPath, words, { cwd: ROOT, env });
    const providers = MODULES.flatMap((it) => Reflect.getMetadata('providers', it) as Type[]);
    const durable = providers.filter((it) => handlesCommand(it)?.kind ?? listensTo(it).length > 0);
    expect(durable.map(({ name }) => name)).toContain('WaitOnDriverRefused');
    expect((JSON.parse(stdout) as string[]).sort()).toEqual(durable.map(({ name }) => name).sort());
  });

  it('draw the same from the same seed', () => {
    const drawn = (seed: number) => Array.from({ length: 5 }, () => new Random(seed).next());
    expect(drawn(1)).toEqual(drawn(1));
    expect(drawn(1)).not.toEqual(drawn(2));
    const many = new Random(3);
    const mean = Array.from({ length: 10_000 }, () => many.next()).reduce((sum, it) => sum + it, 0) / 10_000;
    expect(mean).toBeCloseTo(0.5, 1);
  });
});
