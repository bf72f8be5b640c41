import { execFile } from 'node:child_process';
import type { AddressInfo } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { DeadLetter } from '../../src/infrastructure/dead-letters/dead-letter.js';
import { DeadLetterSink } from '../../src/infrastructure/broker/dead-letter-sink.js';
import { UnitOfWork } from '../../src/infrastructure/persistence/unit-of-work.js';
import { startGateway, type Gateway } from '../../tools/gateway.js';
import { ROOT } from '../../tools/source.js';
import { Recorder, type Reply } from '../support/broker-requests.js';
import { startCabs, type Cabs } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';

/* Two processes that keep dead letters, and a broker whose answers the test sets. */

/** No process listens here. */
const NO_PROCESS = 'http://127.0.0.1:1';

const ID = '0b9e5a4c-8d8f-4c1e-9a57-3d2f6c1b7e42';
const OPERATIONS = [
  ['GET', '/mesh/outbox'],
  ['GET', '/mesh/dead-letters'],
  ['GET', `/mesh/dead-letters/${ID}`],
  ['DELETE', `/mesh/dead-letters/${ID}`],
  ['POST', `/mesh/dead-letters/${ID}/replay`],
  ['POST', '/mesh/dead-letters/replay'],
] as const;

interface DeadLetterService {
  readonly cabs: Cabs;
  readonly url: string;
  /** Stores a dead letter of the type, whose consumer does not exist. @returns its id */
  deadLetter(type: string, error?: string): Promise<string>;
}

describe('The gateway in front of processes that keep dead letters', () => {
  let first: DeadLetterService;
  let second: DeadLetterService;
  let broker: Recorder;
  let gateway: Gateway;
  beforeEach(async () => {
    [first, second] = [await startDeadLetterService(), await startDeadLetterService()];
    broker = await new Recorder().start();
    broker.script = () => ({ status: 404 });
    gateway = await open({ clients: first.url }, second.url);
  });
  afterEach(async () => {
    await gateway.stop();
    await broker.stop();
    for (const { cabs } of [first, second]) await cabs.close();
  });

  const open = (modules: Record<string, string>, deadLetters: string) =>
    startGateway({ routes: [], modules, deadLetters, broker: broker.url, port: 0 });
  const send = async <Body>(method: string, path: string, from = gateway) => {
    const response = await fetch(from.url + path, { method, headers: { 'x-correlation-id': 'c' } });
    const text = await response.text();
    return { status: response.status, body: (text ? JSON.parse(text) : undefined) as Body };
  };
  const list = (query = '') => send<Listing>('GET', `/mesh/dead-letters?${query}`);
  const answerWith = (answer: object, path = '/mesh/outbox') => {
    broker.script = ({ path: requested }): Reply =>
      requested.startsWith(path) ? { body: JSON.stringify(answer) } : { status: 404 };
  };

  it('lists the dead letters of all processes, page by page', async () => {
    const ids: string[] = [];
    // More than the largest page of a process, and some with the same millisecond.
    for (let i = 0; i < 115; i++) {
      for (const service of [first, second]) ids.push(await service.deadLetter('a.b'));
    }
    ids.push(await second.deadLetter('a.c'));
    const seen: DeadLetter[] = [];
    for (let page = 1; page <= 6; page++) {
      const { status, body } = await list(`page=${page}&size=40`);
      expect([status, body.page, body.size, body.total]).toEqual([200, page, 40, 231]);
      seen.push(...body.items);
    }
    expect(seen.map(({ id }) => id).sort()).toEqual(ids.sort());
    const inOrder = [...seen].sort((a, b) =>
      a.deadAt === b.deadAt ? (a.id < b.id ? -1 : 1) : a.deadAt > b.deadAt ? -1 : 1,
    );
    expect(seen.map(({ id }) => id)).toEqual(inOrder.map(({ id }) => id));
    expect((await list('type=a.c')).body).toMatchObject({ total: 1, page: 1, size: 20, items: [{ type: 'a.c' }] });
    expect((await list('page=100&size=100')).body).toMatchObject({ total: 231, items: [] });
    expect(await list('page=101')).toMatchObject({ status: 400 });
  });

  it('counts the dead letters of all processes by cause', async () => {
    for (const service of [first, second, second]) await service.deadLetter('a.b', 'late');
    await first.deadLetter('a.c', 'lost');
    const { body } = await list('by=cause');
    expect(body).toMatchObject({
      total: 4,
      causes: [
        { consumer: NO_PROCESS + '/', type: 'a.b', count: 3 },
        { type: 'a.c', count: 1 },
      ],
    });
    const [{ items }, [{ firstAt, lastAt }]] = [(await list('type=a.b')).body, body.causes as [Cause, Cause]];
    expect([lastAt, firstAt]).toEqual([items[0]!.deadAt, items.at(-1)!.deadAt]);
  });

  it('shows, replays and discards a dead letter in the process that keeps it, or answers 404', async () => {
    const [one, other] = [await first.deadLetter('a.b'), await second.deadLetter('a.c')];
    expect(await send('GET', `/mesh/dead-letters/${one}`)).toMatchObject({
      status: 200,
      body: { id: one, type: 'a.b' },
    });
    expect(await send('GET', `/mesh/dead-letters/${other}`)).toMatchObject({ body: { id: other, type: 'a.c' } });
    // The address of its consumer is not known.
    expect(await send('POST', `/mesh/dead-letters/${other}/replay`)).toMatchObject({ status: 409 });
    expect(await send('DELETE', `/mesh/dead-letters/${other}`)).toEqual({ status: 204, body: undefined });
    expect((await list()).body).toMatchObject({ total: 1, items: [{ id: one }] });
    const path = `/mesh/dead-letters/${other}`;
    expect(await send('DELETE', path)).toMatchObject({
      status: 404,
      body: { title: 'Not found', instance: path, correlationId: 'c' },
    });
    expect(await send('GET', '/mesh/dead-letters/7')).toMatchObject({ status: 400 });
  });

  it('replays all matching dead letters, and adds up the results', async () => {
    const id = await first.deadLetter('a.b');
    const replayed: string[] = [];
    broker.script = ({ method, path }) => {
      if (method === 'POST') replayed.push(path);
      return { status: 202, body: '{"replayed":3}' };
    };
    expect(await send('POST', '/mesh/dead-letters/replay?type=a.c&force=true')).toEqual({
      status: 202,
      body: { replayed: 3 },
    });
    expect(replayed).toEqual(['/mesh/dead-letters/replay?type=a.c&force=true']);
    // Two of the three processes can't replay theirs, for the same reason.
    const ids = [await second.deadLetter('a.b'), await second.deadLetter('a.b')];
    expect((await send('POST', '/mesh/dead-letters/replay?type=a.b')).body).toEqual({
      replayed: 3,
      skipped: [{ reason: expect.stringMatching(/^No module is known at http/), count: 3, ids: [id, ...ids] }],
    });
    const before = replayed.length;
    expect(await send('POST', '/mesh/dead-letters/replay?force=perhaps')).toMatchObject({
      status: 400,
      body: { instance: '/mesh/dead-letters/replay', errors: [{ field: 'force' }] },
    });
    for (const name of ['consumr', 'dryRun']) {
      expect(await send('POST', `/mesh/dead-letters/replay?${name}=true`)).toMatchObject({
        status: 400,
        body: { errors: [{ field: name }] },
      });
    }
    expect(replayed).toHaveLength(before);
  });

  it('refuses unknown parameters and bodies, as the processes do', async () => {
    const others = [
      ['GET', '/mesh/reconciliations'],
      ['POST', '/mesh/reconciliations/run'],
    ] as const;
    for (const [method, path] of [...OPERATIONS, ...others]) {
      const isOfOne = path.includes(ID);
      // The process that keeps the dead letter refuses, if there is one.
      const status = isOfOne ? 404 : 400;
      expect({ path, ...(await send(method, `${path}?dryRun=true`)) }).toMatchObject({ path, status });
      if (method === 'GET' || isOfOne) continue;
      const body = '{"consumer":"invoicing"}';
      const refused = await fetch(gateway.url + path, {
        method,
        body,
        headers: { 'content-type': 'application/json' },
      });
      expect(refused.status).toBe(400);
    }
    const id = await second.deadLetter('a.b');
    expect(await send('DELETE', `/mesh/dead-letters/${id}?force=true`)).toMatchObject({ status: 400 });
    expect((await list()).body).toMatchObject({ total: 1 });
  });

  it('adds up pending messages, and names the processes that did not answer', async () => {
    await first.deadLetter('a.b');
    await second.deadLetter('a.b');
    const quiet = { pending: 0, ready: 0, retrying: 0, deadLetters: 1, lagMs: 0, consumers: {} };
    expect((await send('GET', '/mesh/outbox')).body).toEqual({
      ...quiet,
      deadLetters: 2,
      processes: { clients: quiet, 'dead-letters': quiet },
    });
    const busy = { pending: 5, ready: 3, retrying: 2, deadLetters: 4, lagMs: 70, consumers: { 'cabs/x': 5 } };
    answerWith(busy);
    const partial = await open({ clients: first.url, drivers: NO_PROCESS }, second.url);
    expect((await send('GET', '/mesh/outbox', partial)).body).toEqual({
      ...busy,
      deadLetters: 6,
      processes: { clients: quiet, 'dead-letters': quiet, broker: busy, drivers: 'unreachable' },
    });
    expect(await send('GET', '/mesh/dead-letters', partial)).toMatchObject({
      status: 200,
      body: { total: 2, unreachable: ['drivers'] },
    });
    expect(await send('GET', `/mesh/dead-letters/${ID}`, partial)).toMatchObject({
      status: 503,
      body: { detail: expect.stringMatching('drivers') },
    });
    expect(await send('POST', '/mesh/dead-letters/replay', partial)).toMatchObject({
      status: 202,
      body: { replayed: 0, skipped: [{ count: 2 }], processes: { drivers: 'unreachable' } },
    });
    expect(await send('GET', '/health/live', partial)).toEqual({ status: 200, body: { status: 'live' } });
    expect(await send('GET', '/health/ready', partial)).toMatchObject({
      status: 503,
      body: { detail: 'Not ready: drivers' },
    });
    expect(await send('GET', '/health/ready')).toEqual({ status: 200, body: { status: 'ready' } });
    await partial.stop();
  });

  it('requires the token of the processes, and sends the broker no change without it', async () => {
    const guarded = await startDeadLetterService({ MESH_ADMIN_TOKEN: 'secret-secret-secret' });
    await guarded.deadLetter('a.b');
    const guardedGateway = await open({ clients: guarded.url }, guarded.url);
    for (const [method, path] of OPERATIONS) {
      expect(await send(method, path, guardedGateway)).toMatchObject({
        status: 401,
        body: { title: 'Authentication required' },
      });
    }
    expect(broker.received.filter(({ method }) => method !== 'GET')).toEqual([]);
    const headers = { authorization: 'Bearer secret-secret-secret' };
    expect((await fetch(`${guardedGateway.url}/mesh/outbox`, { headers })).status).toBe(200);
    await guardedGateway.stop();
    await guarded.cabs.close();
  });

  it('works with npm run mesh:dead-letters', async () => {
    const id = await second.deadLetter('a.b', 'no way');
    const run = promisify(execFile);
    const mesh = async (...args: string[]) => {
      const command = ['--import', 'tsx', 'tools/meshy.ts', 'dead-letters', ...args, '--url', gateway.url];
      return (await run(process.execPath, command, { cwd: ROOT })).stdout;
    };
    expect(await mesh('list')).toMatch(new RegExp(`${id}.*a\\.b[^]*no way[^]*1 in all`));
    expect(await mesh('replay', '--all')).toMatch(new RegExp(`Replayed: 0\nSkipped: 1\\. No module is known[^]*${id}`));
    expect(await mesh('discard', id)).toMatch('Discarded');
    expect(await mesh('list')).toMatch('No dead letters.');
  });
});

interface Cause {
  readonly firstAt: string;
  readonly lastAt: string;
}
interface Listing {
  readonly items: DeadLetter[];
  readonly causes: Cause[];
  readonly page: number;
  readonly size: number;
  readonly total: number;
}

async function startDeadLetterService(environment: Record<string, string> = {}): Promise<DeadLetterService> {
  const keeping = { MESH_TRANSPORT: 'knative', MODULES: 'none', ...environment };
  const cabs = await startCabs(await DATABASES[0]!.fresh(), keeping);
  await cabs.app.listen(0, '127.0.0.1');
  const sink = cabs.app.get(DeadLetterSink);
  let n = 0;
  return {
    cabs,
    url: `http://127.0.0.1:${(cabs.app.getHttpServer().address() as AddressInfo).port}`,
    deadLetter: async (type, error = 'lost') => {
      const event = { specversion: '1.0' as const, id: `${type}-${n++}`, source: '/test', type };
      await sink.store({
        ...event,
        knativeerrordest: NO_PROCESS,
        knativeerrordata: Buffer.from(error).toString('base64'),
      });
      if (n % 3 === 0) await wait(1);
      const { sql } = cabs.app.get(UnitOfWork);
      const [letter] = await sql.all<{ id: string }>('SELECT id FROM mesh_dead_letter WHERE event_id = $1', [event.id]);
      return letter!.id;
    },
  };
}
