import { randomBytes } from 'node:crypto';
import { createServer, type Server } from 'node:http';
import { connect, type AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import type { INestApplication } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { request } from 'undici';
import { DEMO_RIDE } from '../../src/demo.js';
import type { CloudEvent } from '../../src/infrastructure/cloudevents/cloud-event.js';
import { HTTP, toBatch, type OutgoingMessage } from '../../src/infrastructure/cloudevents/http-binding.js';
import { toEvents } from '../../src/infrastructure/cloudevents/http-parser.js';
import { Reject } from '../../src/infrastructure/contracts/message.js';
import { UnitOfWork } from '../../src/infrastructure/persistence/unit-of-work.js';
import { eventually, startCabs, type Cabs } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';
import { behaviourOf, meshOf, plantedModules } from '../support/planted.js';

/** The command of the public demo, as the broker of the demo delivers it. */
const DEMO_COMMAND = {
  'ce-specversion': '1.0',
  'ce-id': '8d7f2a36-4a2f-4b5e-9d57-6b1f0f1f8a11',
  'ce-source': 'usvc://cabs/legacy',
  'ce-type': 'cabs.drivers.calculate-fee',
  'ce-subject': DEMO_RIDE,
  'ce-time': '2023-04-12T12:13:14.567+02:00',
  'ce-knativearrivaltime': '2023-04-12T10:13:14.600Z',
  'content-type': 'application/json',
  'kn-namespace': 'demo',
  prefer: 'reply',
};
const DEMO_DATA = '{"driver-id":1993432552,"transit-price":5100}';

interface Reply {
  readonly status: number;
  readonly text: string;
  readonly headers: Record<string, string | string[] | undefined>;
}

describe.each(DATABASES)('The broker ingress on $kind', ({ kind, fresh, makeUnavailable }) => {
  let cabs: Cabs;
  let broker: Server;
  let url: string;
  let database: string;
  const published: { event: CloudEvent; headers: Record<string, unknown> }[] = [];

  beforeAll(async () => {
    broker = createServer((incoming, response) => {
      const chunks: Buffer[] = [];
      incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
      incoming.on('end', () => {
        const [event] = toEvents({ headers: incoming.headers, body: Buffer.concat(chunks) });
        published.push({ event: event!, headers: incoming.headers });
        response.writeHead(202).end();
      });
    });
    await new Promise<void>((resolve) => broker.listen(0, '127.0.0.1', resolve));
    const sink = `http://127.0.0.1:${(broker.address() as AddressInfo).port}/cabs/default`;
    database = await fresh();
    cabs = await startCabs(database, { SEED: 'demo', MESH_TRANSPORT: 'knative', K_SINK: sink });
    await cabs.app.listen(0, '127.0.0.1');
    url = `http://127.0.0.1:${(cabs.app.getHttpServer().address() as AddressInfo).port}`;
  });
  afterAll(async () => {
    await cabs.close();
    broker.close();
    broker.closeAllConnections();
  });

  const post = async (
    path: string,
    body: string | Buffer | undefined,
    headers: Record<string, string>,
  ): Promise<Reply> => {
    const reply = await request(`${url}${path}`, { method: 'POST', headers, body });
    return { status: reply.statusCode, text: await reply.body.text(), headers: reply.headers };
  };
  const deliver = (path: string, event: CloudEvent) => {
    const { headers, body } = HTTP.binary(event);
    return post(path, body, headers);
  };
  const command = (more: Partial<CloudEvent> = {}): CloudEvent => ({
    specversion: '1.0',
    id: crypto.randomUUID(),
    source: 'usvc://cabs/rides',
    type: 'cabs.drivers.calculate-fee',
    subject: crypto.randomUUID(),
    datacontenttype: 'application/json',
    data: { 'driver-id': 1993432552, 'transit-price': 5100 },
    ...more,
  });
  const count = async (table: string, where: string, ...parameters: string[]) => {
    const sql = `SELECT COUNT(*) AS n FROM ${table} WHERE ${where}`;
    const [row] = await cabs.app.get(UnitOfWork).sql.all<{ n: string }>(sql, parameters);
    return Number(row!.n);
  };
  const publishedFor = (subject: string) =>
    eventually(
      async () => published.filter(({ event }) => event.subject === subject),
      (events) => events.length > 0,
    );
  const expectRefusal = ({ status, text, headers }: Reply, expected: number, says: RegExp) => {
    expect({ status, text }).toEqual({ status: expected, text: expect.stringMatching(says) as unknown });
    expect(Buffer.byteLength(text)).toBeLessThan(512);
    expect(headers['content-type']).toBe('application/problem+json');
    expect(JSON.parse(text)).toMatchObject({ type: 'about:blank', status });
  };

  it('goes on in the trace of the HTTP header traceparent, else in that of the event', async () => {
    const trace = (digit: string) => `00-${digit.repeat(32)}-b7ad6b7169203331-01`;
    const deliverInTrace = async (header: string) => {
      const event = command({ traceparent: trace('a') });
      const { headers, body } = HTTP.binary(event);
      expect(await post('/mesh/drivers', body, { ...headers, traceparent: header })).toMatchObject({ status: 204 });
      const [answer] = await publishedFor(event.subject!);
      expect(answer!.headers.traceparent).toBe(answer!.event.traceparent);
      return (answer!.event.traceparent as string).slice(3, 35);
    };
    expect(await deliverInTrace(trace('b'))).toBe('b'.repeat(32));
    expect(await deliverInTrace('no trace')).toBe('a'.repeat(32));
  });

  it('handles the two events of the public demo at /, and publishes the same answer as the public demo', async () => {
    const reply = await post('/', DEMO_DATA, DEMO_COMMAND);
    expect({ status: reply.status, text: reply.text }).toEqual({ status: 204, text: '' });
    const [{ event, headers }] = (await publishedFor(DEMO_RIDE)) as [(typeof published)[number]];
    expect(headers).toMatchObject({
      'ce-specversion': '1.0',
      'ce-type': 'cabs.drivers.driver-fee',
      'ce-source': 'usvc://cabs/drivers',
      'ce-subject': DEMO_RIDE,
      'content-type': 'application/json',
    });
    expect(JSON.stringify(event.data)).toBe('{"driver-id":1993432552,"fee":4856}');
    expect(event.time).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);

    const answer = { ...DEMO_COMMAND, 'ce-id': crypto.randomUUID(), 'ce-type': 'cabs.drivers.driver-fee' };
    const fee = await post('/', '{"driver-id":1993432552,"fee":4856}', {
      ...answer,
      'ce-source': 'usvc://cabs/drivers',
    });
    expect(fee.status).toBe(204);
    expect((await cabs.http.get(`/transits/${DEMO_RIDE}`)).body).toMatchObject({ driverFee: 4856 });
  });

  it('answers 204 after the commit, also when the event is repeated, and handles the event once', async () => {
    const event = command();
    for (const _ of [1, 2, 3]) {
      const { status, text } = await deliver('/mesh/drivers', event);
      expect({ status, text }).toEqual({ status: 204, text: '' });
      expect(await count('drivers_fee', 'transit_id = $1', event.subject!)).toBe(1);
    }
    const concurrent = await Promise.all(Array.from({ length: 10 }, () => deliver('/', event)));
    expect(concurrent.map(({ status }) => status)).toEqual(Array(10).fill(204));
    await publishedFor(event.subject!);
    expect(published.filter(({ event: { subject } }) => subject === event.subject)).toHaveLength(1);
  });

  it('accepts structured and batched events, also with unknown extensions', async () => {
    const one = command({ cluster: 'blue', subject: crypto.randomUUID() });
    const { headers, body } = HTTP.structured(one);
    expect((await post('/mesh/drivers', body, headers)).status).toBe(204);
    const batch = [command(), command(), command()];
    const sent = toBatch(batch);
    expect((await post('/mesh/drivers', sent.body, sent.headers)).status).toBe(204);
    for (const { subject } of [one, ...batch]) expect(await count('drivers_fee', 'transit_id = $1', subject!)).toBe(1);
    expect((await post('/mesh/drivers', '[]', sent.headers)).status).toBe(204);
  });

  it('takes at most 100 events in a batch, and keeps the order of those with one subject', async () => {
    const subject = crypto.randomUUID();
    const ordered = [1, 2].map((price) =>
      command({ subject, data: { 'driver-id': 1993432552, 'transit-price': price } }),
    );
    const batch = [...Array.from({ length: 98 }, () => command()), ...ordered];
    const { headers, body } = toBatch(batch);
    expect((await post('/mesh/drivers', body, headers)).status).toBe(204);
    for (const { id } of batch) expect(await count('mesh_inbox', 'id = $1', id)).toBe(1);
    // The first command of a ride decides on its fee.
    expect(await count('drivers_fee', 'transit_id = $1 AND price = 1', subject)).toBe(1);
    const larger = toBatch([command(), ...batch]);
    expectRefusal(await post('/mesh/drivers', larger.body, larger.headers), 400, /at most 100 events/);
  });

  it('handles the valid events of a batch in which one event is invalid', async () => {
    const [first, invalid, last] = [command(), command({ data: { 'driver-id': 'Bob' } }), command()];
    const { headers, body } = toBatch([first, invalid, last]);
    expectRefusal(await post('/mesh/drivers', body, headers), 422, /driverId/);
    for (const { subject } of [first, last]) expect(await count('drivers_fee', 'transit_id = $1', subject!)).toBe(1);
  });

  it('answers an event that can never succeed with a status that no broker retries', async () => {
    const headers = HTTP.binary(command()).headers;
    expectRefusal(await deliver('/mesh/unknown', command()), 422, /unknown has no handler/);
    expectRefusal(await deliver('/mesh/outbox', command()), 422, /outbox has no handler/);
    expectRefusal(await deliver('/mesh/%ff%zz', command()), 422, /has no handler/);
    expectRefusal(await deliver('/mesh/dead-letters', command()), 422, /dead-letters has no handler/);
    expectRefusal(
      await deliver('/mesh/drivers', command({ source: 'usvc://cabs/loyalty' })),
      422,
      /loyalty may not send/,
    );
    expectRefusal(await deliver('/mesh/drivers', command({ subject: undefined })), 422, /needs a subject/);
    expectRefusal(await deliver('/mesh/drivers', command({ data: { 'driver-id': 1 } })), 422, /transitPrice/);
    expectRefusal(await deliver('/mesh/drivers', command({ data: 'ż'.repeat(5000) })), 422, /contract/);
    expectRefusal(
      await deliver(
        '/mesh/rides',
        command({ source: 'usvc://cabs/drivers', type: 'cabs.drivers.driver-fee', data: { 'driver-id': 1, fee: 1 } }),
      ),
      422,
      /no transit/,
    );
    expectRefusal(await deliver('/mesh/drivers', command({ id: 'ż'.repeat(1000) })), 422, /longer than/);
    expectRefusal(await post('/mesh/drivers', 'what?', { 'content-type': 'text/plain' }), 400, /CloudEvent/);
    expectRefusal(await post('/mesh/drivers', undefined, {}), 400, /CloudEvent/);
    expectRefusal(await post('/mesh/drivers', '{', headers), 400, /JSON/);
    expectRefusal(await post('/mesh/drivers', DEMO_DATA, { ...headers, 'ce-specversion': '2.0' }), 400, /specversion/);
    expectRefusal(await post('/mesh/drivers', DEMO_DATA, { ...headers, 'ce-time': 'now' }), 400, /time/);
    expectRefusal(await post('/mesh/drivers', DEMO_DATA, { ...headers, 'ce-type': '' }), 400, /type/);
    expectRefusal(await post('/mesh/drivers', 'x'.repeat(1024 * 1024 + 1), headers), 413, /bytes/);
    expectRefusal(await post('/mesh/drivers', '['.repeat(10_000), headers), 400, /./);
  });

  it('accepts an event of an unknown type, and one that a Trigger sends to the wrong module', async () => {
    const [wrong, unknown] = [command(), command({ type: 'cabs.drivers.unknown' })];
    expect(await deliver('/mesh/loyalty', wrong)).toMatchObject({ status: 204, text: '' });
    expect(await deliver('/', unknown)).toMatchObject({ status: 204, text: '' });
    expect(await deliver('/', unknown)).toMatchObject({ status: 204, text: '' });
    expect(await count('mesh_delivery', 'consumer = $1 AND id = $2', 'loyalty', wrong.id)).toBe(1);
    // A repeated delivery is stored once.
    expect(await count('mesh_delivery', 'consumer = $1 AND id = $2', 'unknown', unknown.id)).toBe(1);
    const marks = "consumer IN ('loyalty?', 'unknown?') AND";
    expect(await count('mesh_inbox', `${marks} (id = $1 OR id = $2)`, wrong.id, unknown.id)).toBe(2);
    expect(await count('mesh_inbox', 'id = $1 OR id = $2', wrong.id, unknown.id)).toBe(2);
  });

  it('refuses an unknown type with names that no release handles', async () => {
    for (const long of [
      { type: `cabs.drivers.${'x'.repeat(1000)}` },
      { type: 'cabs.drivers.unknown', subject: 's'.repeat(1001) },
      { type: 'cabs.drivers.unknown', id: 'i'.repeat(1001) },
    ])
      expectRefusal(await deliver('/', command(long)), 422, /longer than 1000 bytes/);
  });

  it('handles the events of a batch in which one is malformed', async () => {
    const [first, last] = [command(), command()];
    const items = [first, { ...command(), specversion: '2.0' }, 7, last];
    const { headers } = toBatch([first]);
    expectRefusal(await post('/', JSON.stringify(items), headers), 400, /event 1 of the batch, specversion/);
    for (const { id } of [first, last]) expect(await count('mesh_inbox', 'id = $1', id)).toBe(1);
  });

  it('refuses a body of very many fields or elements before it parses it', async () => {
    const data = { numbers: Array.from({ length: 100_001 }, () => 1) };
    const { headers, body } = HTTP.structured(command({ data }));
    expectRefusal(await post('/', body, headers), 400, /100000 fields and elements/);
  });

  it('refuses values that the database cannot store', async () => {
    const bytes = randomBytes(2000).toString('hex');
    const invoice = (name: string) =>
      command({ type: 'cabs.invoicing.issue-invoice', data: { amount: 1, 'subject-name': name } });
    const structured = async (event: CloudEvent) => {
      const { headers, body } = HTTP.structured(event);
      return post('/', body, headers);
    };
    for (const name of ['a\0b', '\ud800', 'a\udfffb', 'x'.repeat(501)]) {
      expectRefusal(await deliver('/', invoice(name)), 422, /subjectName/);
    }
    // A first and a last name of the maximum length.
    expect((await deliver('/', invoice(`${'ż'.repeat(200)} ${'ż'.repeat(200)}`))).status).toBe(204);
    const miles = {
      source: 'usvc://cabs/loyalty',
      type: 'cabs.loyalty.miles-registered',
      data: { 'client-id': 1, miles: 2 ** 31 },
    };
    expectRefusal(await deliver('/', command(miles)), 422, /miles/);
    const data = { 'address-id': crypto.randomUUID(), 'distance-metres': 2 ** 31 };
    expectRefusal(
      await deliver(
        '/',
        command({ source: 'usvc://cabs/geolocation', type: 'cabs.geolocation.destination-updated', data }),
      ),
      422,
      /distanceMetres/,
    );
    expectRefusal(await structured(command({ subject: bytes })), 422, /subject is longer than/);
    expectRefusal(await structured(command({ subject: 'a\0b' })), 400, /subject/);
    // A correlation id that is too long is replaced by the id of the event.
    const event = command({ correlationid: bytes });
    expect((await structured(event)).status).toBe(204);
    expect((await publishedFor(event.subject!))[0]!.event.correlationid).toBe(event.id);
  });

  it('stops reading a body without Content-Length at the size limit', async () => {
    const endless = async function* () {
      for (let n = 0; n < 64; n++) {
        yield Buffer.alloc(64 * 1024, 0x20);
        await new Promise((resolve) => setImmediate(resolve));
      }
    };
    const sent = request(`${url}/mesh/drivers`, {
      method: 'POST',
      headers: HTTP.binary(command()).headers,
      body: Readable.from(endless()),
    });
    const status = await sent.then(
      async (reply) => (await reply.body.dump(), reply.statusCode),
      () => 413, // the ingress closed the connection
    );
    expect(status).toBe(413);
  });

  it('stores nothing when the client disconnects within the body', async () => {
    const event = command();
    const { headers, body } = HTTP.binary(event);
    const head = Object.entries({ ...headers, 'content-length': '500' }).map(([name, value]) => `${name}: ${value}`);
    const socket = connect(new URL(url).port as unknown as number, '127.0.0.1');
    socket.write(`POST /mesh/drivers HTTP/1.1\r\nhost: x\r\n${head.join('\r\n')}\r\n\r\n${String(body)}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
    socket.destroy();
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(await count('drivers_fee', 'transit_id = $1', event.subject!)).toBe(0);
    expect((await deliver('/mesh/drivers', event)).status).toBe(204);
  });

  it('accepts deliveries by POST only, to one consumer per path', async () => {
    await cabs.http.get('/mesh/drivers').expect(405).expect('Allow', 'POST');
    await cabs.http.put('/mesh/drivers').send({}).expect(405).expect('Allow', 'POST');
    await cabs.http.get('/mesh/unknown').expect(404);
    await cabs.http.post('/mesh/drivers/x').send({}).expect(404);
  });

  it('answers a flush, and publishes the messages in the outbox', async () => {
    const event = command();
    await deliver('/mesh/drivers', event);
    expect((await deliver('/mesh/flush', command({ type: 'dev.knative.sources.ping' }))).status).toBe(204);
    expect((await publishedFor(event.subject!)).length).toBe(1);
  });

  it('answers queries of other processes, and refuses invalid ones with problem documents', async () => {
    const postQuery = (query: string, body: unknown) =>
      post(`/mesh/queries/${query}`, JSON.stringify(body), { 'content-type': 'application/json' });
    const found = await postQuery('read-driver', { 'driver-id': 1993432552 });
    expect(JSON.parse(found.text)).toMatchObject({ result: { id: 1993432552, 'first-name': 'Bob', occupied: true } });
    expect(JSON.parse((await postQuery('read-driver', { 'driver-id': 404 })).text)).toEqual({ result: null });
    expect(await postQuery('read-driver', { 'driver-id': 'Bob' })).toMatchObject({ status: 400 });
    expect(await postQuery('read-minds', {})).toMatchObject({ status: 404 });
  });

  it('answers 503 while the database is unavailable, and handles the event after a retry', async () => {
    const event = command();
    const restore = await makeUnavailable(database);
    try {
      expectRefusal(await deliver('/mesh/drivers', event), 503, /database|Database/);
      // SQLite can still be read while another connection holds the write lock.
      const { statusCode, headers } = await request(`${url}/transits/${DEMO_RIDE}`);
      const [status, type] = kind === 'sqlite' ? [200, /json/] : [503, /problem\+json/];
      expect([statusCode, headers['content-type']]).toEqual([status, expect.stringMatching(type)]);
      expect(headers['retry-after']).toBe(kind === 'sqlite' ? undefined : '1');
    } finally {
      await restore();
    }
    await eventually(
      () => deliver('/mesh/drivers', event),
      ({ status }) => status === 204,
      20_000,
    );
    expect(await count('drivers_fee', 'transit_id = $1', event.subject!)).toBe(1);
  }, 60_000);

  if (kind === 'sqlite') {
    it('has no routes with the in-process transport', async () => {
      const inProcess = await startCabs(await fresh());
      for (const path of ['/', '/mesh/drivers', '/mesh/flush', '/mesh/queries/read-driver', '/mesh/dead-letters']) {
        const { status, type } = await inProcess.http.post(path).set(DEMO_COMMAND).send(DEMO_DATA);
        // GET lists the dead letters; nothing delivers them.
        const expected = path === '/mesh/dead-letters' ? 405 : 404;
        expect({ path, status, type }).toEqual({ path, status: expected, type: 'application/problem+json' });
      }
      await inProcess.close();
    });
  }
});

describe('The broker ingress answers 500', () => {
  const behaviour = behaviourOf({});
  const { Left, Right } = plantedModules(behaviour);
  let app: INestApplication;
  let url: string;

  beforeAll(async () => {
    const options = { database: await DATABASES[0]!.fresh(), broker: { atRoot: true } };
    app = (
      await Test.createTestingModule({ imports: meshOf([Left, Right], options) }).compile()
    ).createNestApplication();
    await app.listen(0, '127.0.0.1');
    url = `http://127.0.0.1:${((app.getHttpServer() as Server).address() as AddressInfo).port}`;
  });
  afterAll(() => app.close());

  const event = (n: number, type = 'planted.left.work'): CloudEvent => ({
    specversion: '1.0',
    id: crypto.randomUUID(),
    source: 'usvc://planted/left',
    type,
    subject: crypto.randomUUID(),
    datacontenttype: 'application/json',
    data: { n },
  });
  const deliver = async ({ headers, body }: OutgoingMessage) => {
    const reply = await request(`${url}/`, { method: 'POST', headers, body });
    return { status: reply.statusCode, text: await reply.body.text() };
  };

  it.each<[string, unknown, string]>([
    ['undefined', undefined, 'undefined'],
    ['null', null, 'null'],
    ['text', 'no', '\\"no\\"'],
  ])('when a handler throws %s', async (_, thrown, detail) => {
    behaviour.work = async () => {
      throw thrown;
    };
    const { status, text } = await deliver(HTTP.binary(event(1)));
    expect({ status, text }).toEqual({ status: 500, text: `{"type":"about:blank","status":500,"detail":"${detail}"}` });
  });

  it('when one consumer fails and another can never handle the event', async () => {
    behaviour.left = () => Promise.reject(new Reject('never'));
    behaviour.right = async () => {
      throw undefined as unknown;
    };
    expect(await deliver(HTTP.binary(event(1, 'planted.left.happened')))).toMatchObject({ status: 500 });
  });

  it('to a batch with one failure, and handles the other events', async () => {
    const handled: number[] = [];
    behaviour.work = async ({ data: { n } }) => {
      if (n === 1) throw new Error('not now');
      handled.push(n);
    };
    const { status } = await deliver(toBatch([event(1), event(2, 'planted.left.unknown'), event(3)]));
    expect([status, handled]).toEqual([500, [3]]);
  });
});
