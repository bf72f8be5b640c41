import { randomBytes } from 'node:crypto';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { CloudEvent } from '../../src/infrastructure/cloudevents/cloud-event.js';
import { HTTP } from '../../src/infrastructure/cloudevents/http-binding.js';
import { toEvents } from '../../src/infrastructure/cloudevents/http-parser.js';
import { Database } from '../../src/infrastructure/persistence/database.js';
import type { DeadLetter } from '../../src/infrastructure/dead-letters/dead-letter.js';
import { eventually, startCabs, type Cabs } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';

/** What a broker adds when it gives up: where it went, what was answered, and that in base64. */
const given = (destination: string, code: number, answer: string): Partial<CloudEvent> => ({
  knativeerrordest: destination,
  knativeerrorcode: String(code),
  knativebrokerttl: '255',
  knativeerrordata: Buffer.from(answer).toString('base64'),
  knativearrivaltime: '2026-11-24T01:02:03Z',
});

describe.each(DATABASES)('The process of the dead letters on $kind', ({ kind, fresh }) => {
  let sink: Cabs;
  let start: () => Promise<Cabs>;
  let elsewhere: Server;
  let url: string;
  let answer = 204;
  const arrived: { path: string; event: CloudEvent; headers: Record<string, unknown> }[] = [];

  beforeAll(async () => {
    elsewhere = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        const [event] = toEvents({ headers: request.headers, body: Buffer.concat(chunks) });
        arrived.push({ path: request.url!, event: event!, headers: request.headers });
        response.writeHead(answer).end(answer === 204 ? undefined : '{"detail":"still no"}');
      });
    });
    await new Promise<void>((resolve) => elsewhere.listen(0, '127.0.0.1', resolve));
    url = `http://127.0.0.1:${(elsewhere.address() as AddressInfo).port}`;
  });
  beforeEach(async () => {
    answer = 204;
    arrived.length = 0;
    const services = { USVC_DRIVERS: url, USVC_RIDES: url, USVC_LOYALTY: 'http://127.0.0.1:9' };
    const here = { MESH_TRANSPORT: 'knative', MODULES: 'none', MESH_RETRY: '1' };
    const database = await fresh();
    start = () => startCabs(database, { ...here, ...services });
    sink = await start();
  });
  afterEach(() => sink.close());
  afterAll(() => void elsewhere.close());

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
  const bury = async (dead: CloudEvent, status = 204) => {
    // Structured: headers have less room.
    const { headers, body } = HTTP.structured(dead);
    const reply = await sink.http.post('/mesh/dead-letters').set(headers).send(String(body));
    expect({ status: reply.status, text: reply.text }).toMatchObject({ status });
  };
  const list = async (query = '') => {
    const { body } = await sink.http.get(`/mesh/dead-letters${query}`).expect(200);
    return body as { items: DeadLetter[]; total: number };
  };
  const replay = (path: string, status = 202) => sink.http.post(`/mesh/dead-letters/${path}`).expect(status);

  it('keeps what a broker gives up with the consumer that failed and its last answer, once as long as it lies here', async () => {
    const dead = event(given(`${url}/mesh/drivers`, 422, '{"type":"about:blank","status":422,"detail":"no driver 1"}'));
    await bury(dead);
    await bury(dead);
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
    expect(items[0]!.event).toEqual(dead);
    // The same message, given up by another consumer.
    await bury({ ...dead, knativeerrordest: `${url}/mesh/loyalty` });
    expect(await list('?consumer=loyalty')).toMatchObject({ total: 1 });
  });

  it('keeps what no database can keep as it is: an answer with NUL, an endless id, an endless address', async () => {
    const bytes = randomBytes(2000).toString('hex');
    await bury(event(given(`${url}/mesh/drivers`, 500, '{"detail":"a\\u0000b"}')));
    expect((await list()).items[0]).toMatchObject({ error: 'HTTP 500: ab', consumer: 'drivers' });
    const named = event({ id: bytes, ...given(`${url}/mesh/rides`, 422, 'no') });
    for (const _ of [1, 2]) await bury(named);
    await bury({ ...named, id: `${bytes}!` });
    const { items, total } = await list('?consumer=rides');
    expect(total).toBe(2);
    expect(items.map((it) => it.event.id).sort()).toEqual([bytes, `${bytes}!`]);
    // Such a name is no consumer's; who wants the type is.
    await bury(event(given(`${url}/${bytes}`, 500, 'no')));
    expect(await list('?consumer=drivers')).toMatchObject({ total: 2 });
    await replay('replay?consumer=drivers');
    await eventually(
      async () => arrived.map(({ path }) => path),
      (paths) => paths.join() === '/mesh/drivers,/mesh/drivers',
    );
  });

  it('replays one to the address of the consumer that failed, with its id and without what the broker added', async () => {
    const plain = event();
    await bury({ ...plain, ...given(`${url}/mesh/drivers`, 500, 'broken') });
    const [letter] = (await list()).items;
    await replay(`${letter!.id}/replay`);
    await eventually(
      async () => arrived.length,
      (count) => count === 1,
    );
    expect(arrived[0]).toMatchObject({ path: '/mesh/drivers', headers: { 'ce-id': plain.id } });
    expect(arrived[0]!.event).toEqual({ ...plain, knativearrivaltime: '2026-11-24T01:02:03Z' });
    await eventually(
      async () => (await sink.http.get('/mesh/outbox')).body as { pending: number; deadLetters: number },
      ({ pending, deadLetters }) => pending === 0 && deadLetters === 0,
    );
  });

  it('tries a replay as the others, and has it back when it fails again', async () => {
    answer = 500;
    const plain = event();
    await bury({ ...plain, ...given(`${url}/mesh/drivers`, 500, 'broken') });
    await replay('replay?consumer=drivers');
    const { items } = await eventually(
      () => list(),
      ({ total }) => total === 1 && arrived.length === 2,
    );
    expect(items[0]).toMatchObject({ consumer: 'drivers', attempts: 2, destination: `${url}/mesh/drivers` });
    expect(items[0]!.error).toContain('answered 500');
    answer = 422;
    await replay(`${items[0]!.id}/replay`);
    await eventually(
      () => list(),
      ({ total }) => total === 1 && arrived.length === 3,
    );
    answer = 204;
    await replay(`${(await list()).items[0]!.id}/replay`);
    await eventually(
      () => list(),
      ({ total }) => total === 0,
    );
  });

  const onPostgres = kind === 'postgres' ? it : it.skip;
  onPostgres(
    'a replay through one of two processes is brought by whichever has the key',
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
        await bury(event({ ...given(`${url}/mesh/drivers`, 503, 'no'), partitionkey: `k${n}`, subject: `s${n}` }));
      await replay('replay');
      await eventually(
        async () => arrived.length,
        (n) => n === 20,
      );
      await other.close();
    },
    30_000,
  );

  it('what comes without a reason is kept for all who want its type', async () => {
    await bury(event({ type: 'cabs.drivers.driver-fee', data: { 'driver-id': 1, fee: 1 }, knativebrokerttl: '255' }));
    await bury(event({ type: 'somebody.elses' }));
    const { items } = await list();
    expect(items.map(({ consumer }) => consumer).sort()).toEqual(['rides', 'unknown']);
    const rides = items.find(({ consumer }) => consumer === 'rides')!;
    expect(rides).toMatchObject({ error: 'Undeliverable: The broker gives no reason' });
    await replay(`${rides.id}/replay`);
    await eventually(
      async () => arrived.map(({ path }) => path),
      (paths) => paths.join() === '/mesh/rides',
    );
  });

  it('posts nowhere but where modules of the application live', async () => {
    await bury(event(given('http://169.254.169.254/latest', 500, 'broken')));
    const [letter] = (await list()).items;
    expect(letter).toMatchObject({ consumer: 'http://169.254.169.254/latest' });
    const { body } = await replay(`${letter!.id}/replay`, 409);
    expect(body).toMatchObject({
      status: 409,
      detail: expect.stringMatching(/^The address of .+ is unknown: set USVC_/),
    });
    // At another origin, but by the name of a module: it goes where that is known to live.
    await bury(event(given('http://old.example/mesh/drivers', 500, 'broken')));
    await replay('replay?consumer=drivers');
    await eventually(
      async () => arrived.map(({ path }) => path),
      (paths) => paths.join() === '/mesh/drivers',
    );
    await sink.http.delete(`/mesh/dead-letters/${letter!.id}`).expect(204);
    expect(await list()).toMatchObject({ total: 0 });
  });

  it('hosts no module, and refuses what is no event', async () => {
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
