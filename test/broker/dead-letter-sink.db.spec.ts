import { randomBytes } from 'node:crypto';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { CloudEvent } from '../../src/infrastructure/cloudevents/cloud-event.js';
import { HTTP } from '../../src/infrastructure/cloudevents/http-binding.js';
import { toEvents } from '../../src/infrastructure/cloudevents/http-parser.js';
import { Database } from '../../src/infrastructure/persistence/database.js';
import { UnitOfWork } from '../../src/infrastructure/persistence/unit-of-work.js';
import { Relay } from '../../src/infrastructure/outbox/relay.js';
import { insertDeadLetter } from '../../src/infrastructure/store/dead-letter-rows.js';
import { insertDeliveries } from '../../src/infrastructure/store/delivery-rows.js';
import type { DeadLetter, ListedDeadLetter } from '../../src/infrastructure/dead-letters/dead-letter.js';
import { eventually, startCabs, type Cabs } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';

/** The attributes that a broker adds to a dead letter: the address, the status, and the response body in Base64. */
const errorAttributes = (destination: string, code: number, answer: string): Partial<CloudEvent> => ({
  knativeerrordest: destination,
  knativeerrorcode: String(code),
  knativebrokerttl: '255',
  knativeerrordata: Buffer.from(answer).toString('base64'),
  knativearrivaltime: '2026-11-24T01:02:03Z',
});

describe.each(DATABASES)('The dead letter sink on $kind', ({ kind, fresh }) => {
  let sink: Cabs;
  let start: () => Promise<Cabs>;
  let subscriber: Server;
  let url: string;
  let answer = 204;
  const received: { path: string; event: CloudEvent; headers: Record<string, unknown> }[] = [];

  beforeAll(async () => {
    subscriber = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        const [event] = toEvents({ headers: request.headers, body: Buffer.concat(chunks) });
        received.push({ path: request.url!, event: event!, headers: request.headers });
        response.writeHead(answer).end(answer === 204 ? undefined : '{"detail":"still no"}');
      });
    });
    await new Promise<void>((resolve) => subscriber.listen(0, '127.0.0.1', resolve));
    url = `http://127.0.0.1:${(subscriber.address() as AddressInfo).port}`;
  });
  beforeEach(async () => {
    answer = 204;
    received.length = 0;
    const services = { USVC_DRIVERS: url, USVC_RIDES: url, USVC_LOYALTY: 'http://127.0.0.1:9' };
    const here = { MESH_TRANSPORT: 'knative', MODULES: 'none', MESH_RETRY: '1' };
    const database = await fresh();
    start = () => startCabs(database, { ...here, ...services });
    sink = await start();
  });
  afterEach(() => sink.close());
  afterAll(() => void subscriber.close());

  const event = (more: Partial<CloudEvent> = {}): CloudEvent => ({
    specversion: '1.0',
    id: crypto.randomUUID(),
    source: 'usvc://cabs/rides',
    type: 'cabs.drivers.calculate-fee',
    subject: crypto.randomUUID(),
    datacontenttype: 'application/json',
    partitionkey: 'k',
    data: { 'driver-id': 1, 'transit-price': 5100 },
    ...more,
  });
  const postDeadLetter = async (dead: CloudEvent, status = 204) => {
    // Structured mode, because long attributes don't fit into headers.
    const { headers, body } = HTTP.structured(dead);
    const reply = await sink.http.post('/mesh/dead-letters').set(headers).send(String(body));
    expect({ status: reply.status, text: reply.text }).toMatchObject({ status });
  };
  const list = async (query = '') => {
    const { body } = await sink.http.get(`/mesh/dead-letters${query}`).expect(200);
    return body as { items: ListedDeadLetter[]; total: number };
  };
  const eventsOf = (items: readonly ListedDeadLetter[]) =>
    Promise.all(
      items.map(async ({ id }) => {
        const { body } = await sink.http.get(`/mesh/dead-letters/${id}`).expect(200);
        return (body as DeadLetter).event;
      }),
    );
  const requeue = (path: string, status = 202) => sink.http.post(`/mesh/dead-letters/${path}`).expect(status);

  it('stores a failed message once per consumer, with the last response', async () => {
    const dead = event(
      errorAttributes(`${url}/mesh/drivers`, 422, '{"type":"about:blank","status":422,"detail":"no driver 1"}'),
    );
    await postDeadLetter(dead);
    await postDeadLetter(dead);
    const { items, total } = await list();
    expect(total).toBe(1);
    expect(items[0]).toMatchObject({
      consumer: 'drivers',
      type: dead.type,
      subject: dead.subject,
      attempts: 0,
      error: 'HTTP 422: no driver 1',
      cause: 'HTTP <n>: no driver <n>',
      destination: `${url}/mesh/drivers`,
    });
    expect(items[0]).not.toHaveProperty('event');
    expect(await eventsOf(items)).toEqual([dead]);
    // The same message failed at another consumer as well.
    await postDeadLetter({ ...dead, knativeerrordest: `${url}/mesh/loyalty` });
    expect(await list('?consumer=loyalty')).toMatchObject({ total: 1 });
  });

  it('stores a response with NUL, and an id and an address of 4,000 characters', async () => {
    const bytes = randomBytes(2000).toString('hex');
    await postDeadLetter(event(errorAttributes(`${url}/mesh/drivers`, 500, '{"detail":"a\\u0000b"}')));
    expect((await list()).items[0]).toMatchObject({ error: 'HTTP 500: a\ufffdb', consumer: 'drivers' });
    const named = event({ id: bytes, ...errorAttributes(`${url}/mesh/rides`, 422, 'no') });
    for (const _ of [1, 2]) await postDeadLetter(named);
    await postDeadLetter({ ...named, id: `${bytes}!` });
    const { items, total } = await list('?consumer=rides');
    expect(total).toBe(2);
    expect((await eventsOf(items)).map(({ id }) => id).sort()).toEqual([bytes, `${bytes}!`]);
    // No consumer has this name, so the message is stored for each subscriber of its type.
    await postDeadLetter(event(errorAttributes(`${url}/${bytes}`, 500, 'no')));
    expect(await list('?consumer=drivers')).toMatchObject({ total: 2 });
    await requeue('replay?consumer=drivers');
    await eventually(
      async () => received.map(({ path }) => path),
      (paths) => paths.join() === '/mesh/drivers,/mesh/drivers',
    );
  });

  it('requeues a message to the consumer that failed, with its id and without the error attributes', async () => {
    const plain = event();
    await postDeadLetter({ ...plain, ...errorAttributes(`${url}/mesh/drivers`, 500, 'broken') });
    const [letter] = (await list()).items;
    await requeue(`${letter!.id}/replay`);
    await eventually(
      async () => received.length,
      (count) => count === 1,
    );
    expect(received[0]).toMatchObject({ path: '/mesh/drivers', headers: { 'ce-id': plain.id } });
    expect(received[0]!.event).toEqual({ ...plain, knativearrivaltime: '2026-11-24T01:02:03Z' });
    await eventually(
      async () => (await sink.http.get('/mesh/outbox')).body as { pending: number; deadLetters: number },
      ({ pending, deadLetters }) => pending === 0 && deadLetters === 0,
    );
  });

  it('retries a requeued message, and stores it again when it fails again', async () => {
    answer = 500;
    const plain = event();
    await postDeadLetter({ ...plain, ...errorAttributes(`${url}/mesh/drivers`, 500, 'broken') });
    await requeue('replay?consumer=drivers');
    const { items } = await eventually(
      () => list(),
      ({ total }) => total === 1 && received.length === 2,
    );
    expect(items[0]).toMatchObject({ consumer: 'drivers', attempts: 2, destination: `${url}/mesh/drivers` });
    expect(items[0]!.error).toContain('answered 500');
    answer = 422;
    await requeue(`${items[0]!.id}/replay`);
    await eventually(
      () => list(),
      ({ total }) => total === 1 && received.length === 3,
    );
    answer = 204;
    await requeue(`${(await list()).items[0]!.id}/replay`);
    await eventually(
      () => list(),
      ({ total }) => total === 0,
    );
  });

  const onPostgres = kind === 'postgres' ? it : it.skip;
  onPostgres(
    'delivers requeued messages while two processes share the leases',
    async () => {
      const other = await start();
      const { read } = sink.app.get(Database);
      const holders = async () => {
        const [row] = await read.all<{ n: string }>(
          `SELECT COUNT(DISTINCT holder) AS n FROM mesh_lease WHERE part LIKE 'deliveries%'`,
        );
        return Number(row!.n);
      };
      await eventually(holders, (n) => n === 2);
      for (let n = 0; n < 20; n++)
        await postDeadLetter(
          event({ ...errorAttributes(`${url}/mesh/drivers`, 503, 'no'), partitionkey: `k${n}`, subject: `s${n}` }),
        );
      await requeue('replay');
      await eventually(
        async () => received.length,
        (n) => n === 20,
      );
      await other.close();
    },
    60_000,
  );

  it('stores a message without error attributes for each subscriber of its type', async () => {
    await postDeadLetter(
      event({ type: 'cabs.drivers.driver-fee', data: { 'driver-id': 1, fee: 1 }, knativebrokerttl: '255' }),
    );
    await postDeadLetter(event({ type: 'another.type' }));
    const { items } = await list();
    expect(items.map(({ consumer }) => consumer).sort()).toEqual(['rides', 'unknown']);
    const rides = items.find(({ consumer }) => consumer === 'rides')!;
    expect(rides).toMatchObject({ error: 'Undeliverable: The broker gives no reason' });
    await requeue(`${rides.id}/replay`);
    await eventually(
      async () => received.map(({ path }) => path),
      (paths) => paths.join() === '/mesh/rides',
    );
  });

  it('posts only to addresses of the modules of the application, on paths of its own', async () => {
    const addresses = ['http://169.254.169.254/latest', `${url}/transits/1/cancel`, 'http://old.example/mesh/drivers'];
    for (const address of addresses) await postDeadLetter(event(errorAttributes(address, 500, 'broken')));
    expect((await requeue('replay')).body).toEqual({ replayed: 3, skipped: [] });
    await eventually(
      async () => received.map(({ path }) => path),
      (paths) => paths.join() === '/mesh/drivers,/mesh/drivers,/mesh/drivers',
    );
  });

  it('keeps a dead letter without a consumer, says why it cannot be replayed, and discards it', async () => {
    await postDeadLetter(event({ type: 'another.type', ...errorAttributes('http://other.example/x', 500, 'broken') }));
    const [letter] = (await list()).items;
    expect(letter).toMatchObject({ consumer: 'http://other.example/x' });
    const detail = expect.stringMatching(/^No module is known at .+ no module of this release handles another\.type: /);
    expect((await requeue(`${letter!.id}/replay`, 409)).body).toMatchObject({ status: 409, detail: detail as unknown });
    await sink.http.delete(`/mesh/dead-letters/${letter!.id}`).expect(204);
    expect(await list()).toMatchObject({ total: 0 });
  });

  /** Inserts dead letters as earlier releases stored them. */
  const insertStored = async (consumer: string, events: CloudEvent[], destination?: string) => {
    const work = sink.app.get(UnitOfWork);
    const stored = { consumer, destination, attempts: 0, error: new Error('no') };
    await work.run(async () => {
      for (const it of events) await insertDeadLetter(work.sql, { event: it, ...stored });
    });
  };
  const many = (n: number, more: Partial<CloudEvent>) => Array.from({ length: n }, () => event(more));

  it('replays all that can be replayed, and reports the others with their reason', async () => {
    // More than a page of dead letters that can't be replayed stand first.
    await insertStored('unknown', many(150, { type: 'another.type' }));
    await insertStored('clients', many(60, { type: 'cabs.clients.newer' }));
    await insertStored('drivers', many(1, {}));
    await insertStored('unknown', many(101, { type: 'another.type' }));
    await insertStored('drivers', many(1, {}));
    const { body } = await requeue('replay');
    const ids = Array(10).fill(expect.any(String)) as unknown;
    expect(body).toEqual({
      replayed: 2,
      skipped: [
        {
          reason: expect.stringMatching(/^No module of this release handles another\.type: start a release/),
          count: 251,
          ids,
        },
        { reason: expect.stringMatching(/^The address of clients is unknown: set USVC_CLIENTS/), count: 60, ids },
      ],
    });
    await eventually(
      async () => received.length,
      (count) => count === 2,
    );
    // They are still there, and later calls skip them again.
    expect(await list()).toMatchObject({ total: 311 });
    expect((await requeue('replay')).body).toMatchObject({ replayed: 0, skipped: [{ count: 251 }, { count: 60 }] });
  });

  it('replays dead letters of earlier releases, whose consumer is an address', async () => {
    const filter = 'http://broker-filter.knative-eventing.svc.cluster.local/triggers/cabs/drivers/0f1c';
    await insertStored(filter, [event()], filter);
    await insertStored(`${url}/mesh/drivers/`, [event()], `${url}/mesh/drivers/`);
    await insertStored('unknown', [event()]);
    const other = 'http://other.example/';
    await insertStored(other, [event()], other);
    expect((await requeue(`replay?consumer=${encodeURIComponent(other)}`)).body).toEqual({ replayed: 1, skipped: [] });
    expect((await requeue('replay')).body).toEqual({ replayed: 3, skipped: [] });
    await eventually(
      async () => received.map(({ path }) => path),
      (paths) => paths.join() === Array(4).fill('/mesh/drivers').join(),
    );
  });

  it('lists and replays large dead letters, a few megabytes in each unit of work', async () => {
    const large = many(10, { data: { text: 'x'.repeat(900_000) } });
    for (const it of large) await insertStored('drivers', [it]);
    const { text } = await sink.http.get('/mesh/dead-letters?size=100').expect(200);
    expect(text.length).toBeLessThan(100_000);
    expect((await requeue('replay')).body).toEqual({ replayed: 10, skipped: [] });
    await eventually(
      async () => received.length,
      (count) => count === 10,
    );
    expect(new Set(received.map((it) => it.event.id))).toEqual(new Set(large.map(({ id }) => id)));
  });

  it('posts nothing to an address of an earlier release that is none of a module', async () => {
    const work = sink.app.get(UnitOfWork);
    const addresses = [`${url}/clients`, `${url}/mesh/drivers/../../clients`, `${url}/mesh/rides?x=/mesh/drivers`];
    const deliveries = [...addresses, `${url}/mesh/drivers`].map((consumer) => ({ consumer, event: event() }));
    await work.run(() => insertDeliveries(work.sql, deliveries));
    for (const { consumer } of deliveries) sink.app.get(Relay).wakeConsumer(consumer);
    const { items } = await eventually(
      () => list(),
      ({ total }) => total === 3 && received.length === 1,
    );
    expect(received.map(({ path }) => path)).toEqual(['/mesh/drivers']);
    for (const { error } of items) expect(error).toMatch(/is the address of no module here: replay the dead letter$/);
  });

  it('replays the others when the database refuses one', async () => {
    await insertStored('drivers', [...many(70, {}), event({ id: 'refused' }), ...many(70, {})]);
    const trigger =
      kind === 'sqlite'
        ? [
            `CREATE TRIGGER refuses BEFORE INSERT ON mesh_delivery WHEN NEW.id = 'refused'
             BEGIN SELECT RAISE(ABORT, 'refused by a trigger'); END`,
          ]
        : [
            `CREATE FUNCTION refuses() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN RAISE EXCEPTION ''refused by a trigger''; END'`,
            `CREATE TRIGGER refuses BEFORE INSERT ON mesh_delivery FOR EACH ROW WHEN (NEW.id = 'refused')
             EXECUTE FUNCTION refuses()`,
          ];
    const work = sink.app.get(UnitOfWork);
    await work.run(async () => {
      for (const statement of trigger) await work.sql.run(statement);
    });
    const { body } = await requeue('replay');
    const reason = expect.stringContaining('refused by a trigger') as unknown;
    expect(body).toMatchObject({ replayed: 140, skipped: [{ reason, count: 1 }] });
    expect(await eventsOf((await list()).items)).toMatchObject([{ id: 'refused' }]);
  });

  it('hosts no module, and refuses a body that is no CloudEvent', async () => {
    await sink.http.get('/drivers/1').expect(404);
    const reply = await sink.http
      .post('/mesh/drivers')
      .set(HTTP.binary(event()).headers)
      .send('{"driver-id":1,"transit-price":1}');
    expect(reply.status).toBe(422);
    await sink.http.post('/mesh/dead-letters').set('content-type', 'text/plain').send('x').expect(400);
    await sink.http.get('/health/ready').expect(200);
  });
});
