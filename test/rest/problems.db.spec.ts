import { request as send, type IncomingHttpHeaders, type OutgoingHttpHeaders } from 'node:http';
import { connect, type AddressInfo } from 'node:net';
import { gzipSync } from 'node:zlib';
import { PICKUP, PLANNED, REACHED } from '../../src/demo.js';
import type { Problem } from '../../src/infrastructure/http/problem.js';
import { startCabs, type Cabs } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';
import { bodyOf, newClient, newDriver, newRide, problemOf, transitIn } from '../support/rest.js';

const UNKNOWN = '00000000-0000-4000-8000-000000000000';
const CLIENT = { name: 'Jane', lastName: 'Roe' };
const NUL = String.fromCharCode(0);
const LONE_SURROGATE = String.fromCharCode(0xd800);

/** Every route with a number in its path. */
const NUMBERED = routes<'get' | 'post' | 'put'>([
  ['get', '/clients/:id'],
  ['post', '/clients/:id/awards'],
  ['post', '/clients/:id/awards/activate'],
  ['post', '/clients/:id/awards/deactivate'],
  ['get', '/clients/:id/awards'],
  ['get', '/drivers/:id'],
  ['post', '/drivers/:id/activate'],
  ['post', '/drivers/:id/deactivate'],
  ['put', '/drivers/:id/fee', { type: 'flat', amount: 1 }],
]);

/** Every route with a UUID in its path. */
const IDENTIFIED = routes<'get' | 'post' | 'delete'>([
  ['get', '/transits/:id'],
  ['post', '/transits/:id/publish'],
  ['post', '/transits/:id/accept', 'driver'],
  ['post', '/transits/:id/reject', 'driver'],
  ['post', '/transits/:id/start'],
  ['post', '/transits/:id/cancel'],
  ['post', '/transits/:id/destination', REACHED],
  ['post', '/transits/:id/complete', REACHED],
  ['get', '/addresses/:id'],
  ['get', '/mesh/dead-letters/:id'],
  ['delete', '/mesh/dead-letters/:id'],
  ['post', '/mesh/dead-letters/:id/replay'],
]);

function routes<Method>(rows: [method: Method, path: string, body?: 'driver' | object][]) {
  return rows.map(([method, path, body]) => ({ method, path, body }));
}

describe.each(DATABASES)('Problem documents on $kind', ({ fresh }) => {
  let cabs: Cabs;

  beforeAll(async () => {
    cabs = await startCabs(await fresh(), { MESH_RECONCILE_EVERY: 'PT0S' });
    await cabs.app.listen(0, '127.0.0.1');
  });
  afterAll(() => cabs.close());

  describe('Unknown', () => {
    it.each(NUMBERED)('$method $path is 404 for an unknown or impossible id', async ({ method, path, body }) => {
      for (const id of ['2147483647', '2147483648', '99999999999', '99999999999999999999']) {
        problemOf(await cabs.http[method](path.replace(':id', id)).send(body), 404, 'id');
      }
    });

    it.each(NUMBERED)('$method $path is 400 for a malformed id', async ({ method, path, body }) => {
      for (const id of ['0', '-1', '1.5', '1e3', '01', 'x', '%00', '1%20', '%F0%9F%9A%95']) {
        problemOf(await cabs.http[method](path.replace(':id', id)).send(body), 400, 'id');
      }
    });

    it.each(IDENTIFIED)(
      '$method $path is 404 for an unknown id, and 400 for a malformed one',
      async ({ method, path, body }) => {
        const content = body === 'driver' ? { driverId: await newDriver(cabs) } : body;
        problemOf(await cabs.http[method](path.replace(':id', UNKNOWN)).send(content), 404, 'id');
        for (const id of ['1', 'x', `${UNKNOWN}0`, '%00', `${UNKNOWN}%00`]) {
          problemOf(await cabs.http[method](path.replace(':id', id)).send(content), 400, 'id');
        }
      },
    );

    it.each([2147483647, 2147483648, 99_999_999_999])(
      'a body with the unknown client or driver %d is 404',
      async (unknownId) => {
        const ride = { clientId: unknownId, from: PICKUP, to: PLANNED };
        problemOf(await cabs.http.post('/transits').send(ride), 404, 'clientId');
        const { id } = await transitIn(cabs, 'WAITING_FOR_DRIVER_ASSIGNMENT');
        const body = { driverId: unknownId };
        problemOf(await cabs.http.post(`/transits/${id}/accept`).send(body), 404, 'driverId');
        problemOf(await cabs.http.post(`/transits/${id}/reject`).send(body), 404, 'driverId');
        // Only the driver of the ride may do this, so the reply doesn't tell whether another driver exists.
        problemOf(await cabs.http.post(`/transits/${id}/start`).send(body), 403, 'driverId');
        problemOf(await cabs.http.post(`/transits/${id}/complete`).send({ ...REACHED, ...body }), 403, 'driverId');
      },
    );

    it.each([
      ['get', '/'],
      ['get', '/nothing'],
      ['delete', '/nothing'],
      ['get', '/transits/1/2/3'],
    ] as const)('%s %s is no route', async (method, path) => {
      const problem = problemOf(await cabs.http[method](`${path}?secret=1`), 404);
      expect(problem.instance).toBe(path);
    });

    it.each([
      ['post', '/clients/1', 'GET, HEAD'],
      ['delete', '/transits', 'GET, HEAD, POST'],
      ['patch', '/drivers/1', 'GET, HEAD'],
      ['put', '/transits/x/complete?a=b', 'POST'],
      ['post', '/health/live', 'GET, HEAD'],
      ['put', '/mesh/dead-letters/replay', 'DELETE, GET, HEAD, POST'],
      ['post', '/api', 'GET, HEAD'],
      ['options', '/clients', 'POST'],
    ] as const)('%s %s is 405, and the answer names the methods', async (method, path, allow) => {
      const reply = await cabs.http[method](path);
      problemOf(reply, 405);
      expect(reply.get('Allow')).toBe(allow);
    });
  });

  it('no answer is cached, or taken for a page', async () => {
    const paths = [`/clients/${await newClient(cabs)}`, '/clients/x', '/nothing', '/transits', '/health/live'];
    for (const path of paths) {
      const { headers } = await cabs.http.get(path);
      expect([path, headers['cache-control']]).toEqual([path, 'no-store']);
      expect(headers).toMatchObject({ 'x-content-type-options': 'nosniff', 'x-frame-options': 'DENY' });
      expect(headers['content-security-policy']).toBe("default-src 'none'; frame-ancestors 'none'");
    }
  });

  describe('Refused by Node', () => {
    /** Sends bytes. @returns the answer, when the connection is closed */
    const answerTo = async (text: string): Promise<string> => {
      const { port } = cabs.app.getHttpServer().address() as AddressInfo;
      const socket = connect(port, '127.0.0.1').on('error', () => undefined);
      socket.write(text);
      let answer = '';
      for await (const chunk of socket.setEncoding('utf8')) answer += chunk as string;
      return answer;
    };
    const get = 'GET /health/live HTTP/1.1\r\nHost: localhost\r\n';

    it.each([
      [400, 'nonsense\r\n\r\n'],
      [400, 'GET /a b HTTP/1.1\r\nHost: localhost\r\n\r\n'],
      [400, `${get}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n`],
      [400, 'GET / HTTP/1.1\r\nConnection: close\r\n\r\n'],
      [417, `${get}Expect: a-miracle\r\n\r\n`],
      [431, `${get}X-Long: ${'x'.repeat(20_000)}\r\n\r\n`],
    ])('a request is answered with a problem document: %d', async (status, text) => {
      const [head, body] = (await answerTo(text)).split('\r\n\r\n') as [string, string];
      expect(head).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
      expect(head.toLowerCase()).toContain('\r\nconnection: close');
      expect(head.toLowerCase()).toContain('\r\ncontent-type: application/problem+json');
      expect(JSON.parse(body)).toMatchObject({ type: 'about:blank', status, title: expect.anything() as unknown });
    });
  });

  describe('Malformed', () => {
    it.each(['{', '{"name":', "{'name': 1}", 'name=Jane', '"Jane"', 'null', '7', '\uFEFF{', '[1,]'])(
      'the body %j is 400, with the correlation id that the client chose',
      async (body) => {
        const sent = cabs.http.post('/clients').set('Content-Type', 'application/json').set('X-Correlation-Id', 'mine');
        expect(problemOf(await sent.send(body), 400).correlationId).toBe('mine');
      },
    );

    it('a request without a body is 400, and told to send one', async () => {
      const { detail } = problemOf(await cabs.http.post('/clients').send(), 400, '');
      expect(detail).toMatch(/^send a JSON object as the body/);
    });

    it.each([
      ['/clients', [], ['']],
      ['/clients', {}, ['name', 'lastName']],
      ['/clients', { name: ' ', lastName: 'x'.repeat(201) }, ['name', 'lastName']],
      ['/clients', { name: 1, lastName: null }, ['name', 'lastName']],
      ['/clients', { ...CLIENT, type: 'GOOD' }, ['type']],
      ['/drivers', {}, ['firstName', 'lastName', 'driverLicense']],
      ['/transits', {}, ['clientId', 'from', 'to']],
      ['/transits', { clientId: '1', from: PICKUP, to: PLANNED }, ['clientId']],
      ['/transits', { clientId: 0, from: PICKUP, to: PLANNED }, ['clientId']],
      ['/transits', { clientId: 1.5, from: PICKUP, to: PLANNED }, ['clientId']],
      ['/transits', { clientId: 1, from: PICKUP, to: PLANNED, carClass: 'TANK' }, ['carClass']],
      [
        '/transits',
        { clientId: 1, from: { ...PICKUP, buildingNumber: 2 ** 31 }, to: {} },
        ['from.buildingNumber', 'to.country', 'to.city', 'to.street', 'to.buildingNumber'],
      ],
      [`/transits/${UNKNOWN}/accept`, {}, ['driverId']],
      [`/transits/${UNKNOWN}/accept`, { driverId: '1' }, ['driverId']],
      [`/transits/${UNKNOWN}/reject`, { driverId: -1 }, ['driverId']],
      [`/transits/${UNKNOWN}/start`, { driverId: 'x' }, ['driverId']],
      [`/transits/${UNKNOWN}/destination`, { ...REACHED, street: '' }, ['street']],
      [`/transits/${UNKNOWN}/complete`, { ...REACHED, city: undefined, driverId: null }, ['city', 'driverId']],
    ] as [string, object, string[]][])('POST %s %j is 400, naming %j', async (path, body, fields) => {
      problemOf(await cabs.http.post(path).send(body), 400, ...fields);
    });

    it('a body that is missing is 400', async () => {
      for (const path of ['/clients', '/drivers', '/transits', `/transits/${UNKNOWN}/accept`]) {
        problemOf(await cabs.http.post(path), 400, '');
      }
    });

    it.each([
      ['a NUL', NUL],
      ['a lone surrogate', LONE_SURROGATE],
      ['an escape', '\u001b[2J'],
    ])('text with %s is 400 in every field', async (_, character) => {
      const text = `a${character}b`;
      problemOf(await cabs.http.post('/clients').send({ name: text, lastName: text }), 400, 'name', 'lastName');
      const driver = { firstName: text, lastName: text, driverLicense: text };
      problemOf(await cabs.http.post('/drivers').send(driver), 400, ...Object.keys(driver));
      const strings = { country: text, district: text, city: text, street: text, postalCode: text, name: text };
      const fields = Object.keys(strings);
      const address = { ...strings, buildingNumber: 1 };
      const [from, to] = ['from', 'to'].map((it) => fields.map((field) => `${it}.${field}`));
      const ride = { clientId: 1, from: address, to: address };
      problemOf(await cabs.http.post('/transits').send(ride), 400, ...from!, ...to!);
      problemOf(await cabs.http.post(`/transits/${UNKNOWN}/destination`).send(address), 400, ...fields);
      problemOf(await cabs.http.post(`/transits/${UNKNOWN}/complete`).send(address), 400, ...fields);
    });

    it.each([
      '\u200B',
      'a\u200Db',
      '\u202Eabc',
      'a\u2066b',
      '\u00AD',
      '\u3164',
      '\u2800',
      '\u{E0041}',
      'a\u2028b',
      '\u115F',
    ])('the text %j, is refused by the names of its fields', async (text) => {
      problemOf(await cabs.http.post('/clients').send({ name: text, lastName: 'Roe' }), 400, 'name');
      const driver = { firstName: text, lastName: text, driverLicense: text };
      problemOf(await cabs.http.post('/drivers').send(driver), 400, ...Object.keys(driver));
      const ride = { clientId: 1, from: PICKUP, to: { ...PLANNED, street: text, name: text } };
      problemOf(await cabs.http.post('/transits').send(ride), 400, 'to.name', 'to.street');
      problemOf(await cabs.http.post(`/transits/${UNKNOWN}/complete`).send({ ...REACHED, city: text }), 400, 'city');
    });

    it.each(['علی‌رضا', 'क्‍ष', 'I ❤️ Zoë', '👩🏽‍🚀', '1️⃣', 'Ångström'])('the text %j is accepted', async (name) => {
      const { body } = await cabs.http.post('/clients').send({ name, lastName: 'Roe' });
      expect(body).toMatchObject({ name });
    });

    it('a body of more than 5000 fields and elements is refused', async () => {
      const many = (n: number) => ({ name: 'Eve', lastName: 'Roe', list: Array.from({ length: n }, () => ({})) });
      problemOf(await cabs.http.post('/clients').send(many(6000)), 400, '');
      expect((await cabs.http.post('/clients').send(many(2000))).status).toBe(201);
    });

    it('bytes that are no UTF-8 are refused by the name of their field', async () => {
      const json = { 'Content-Type': 'application/json' };
      const bytes = (text: string) => Buffer.from(text, 'latin1');
      for (const [body, field] of [
        ['{"name":"Ren\xe9","lastName":"Roe"}', 'name'],
        ['{"name":"Jane","lastName":"Roe","a":[{"b\xff":1}]}', 'a.0.b\uFFFD'],
      ] as const) {
        const { status, problem } = await raw(cabs, 'POST', '/clients', json, bytes(body));
        expect([status, problem.errors]).toEqual([400, [{ field, detail: 'expected UTF-8' }]]);
      }
    });

    it.each(['consumer', 'type', 'cause'])('dead letters by a %s with a NUL are refused', async (parameter) => {
      problemOf(await cabs.http.get(`/mesh/dead-letters?${parameter}=a%00`), 400, parameter);
      problemOf(await cabs.http.post(`/mesh/dead-letters/replay?${parameter}=a%00`), 400, parameter);
    });

    it.each([
      ['get', '/mesh/outbox'],
      ['get', '/mesh/dead-letters'],
      ['get', `/mesh/dead-letters/${UNKNOWN}`],
      ['delete', `/mesh/dead-letters/${UNKNOWN}`],
      ['post', `/mesh/dead-letters/${UNKNOWN}/replay`],
      ['post', '/mesh/dead-letters/replay'],
      ['get', '/mesh/reconciliations'],
      ['post', '/mesh/reconciliations/run'],
    ] as const)(
      '%s %s with an unknown parameter, or with a body, is refused and does nothing',
      async (method, path) => {
        const { runs } = await reconciliationsOf(cabs);
        for (const name of ['consumr', 'dryRun', 'Consumer', 'force[]', 'constructor', '__proto__', 'dry_run']) {
          const problem = problemOf(await cabs.http[method](`${path}?${encodeURIComponent(name)}=true`), 400, name);
          expect(problem.errors![0]!.detail).toMatch(/^unknown query parameter, /);
        }
        problemOf(await cabs.http[method](`${path}?consumr=a&dryRun&consumr=b`), 400, 'consumr', 'dryRun');
        for (const body of [{}, { consumer: 'invoicing' }, []])
          problemOf(await cabs.http[method](path).send(body), 400, 'body');
        expect(await reconciliationsOf(cabs)).toEqual({ runs });
      },
    );

    it.each([
      ['get', '/mesh/dead-letters?consumer=a&type=b&cause=c&by=cause&page=1&size=1', 200],
      ['post', '/mesh/dead-letters/replay?consumer=a&type=b&cause=c&force=true', 202],
      ['post', '/mesh/reconciliations/run?dry-run=true&after=PT1S', 202],
    ] as const)('%s %s is accepted', async (method, path, status) => {
      bodyOf(await cabs.http[method](path), status);
    });

    it.each(['/transits/%E0%A4%A', '/transits/%', '/clients/%ff', '/drivers/%C0%80/activate', '/addresses/%zz'])(
      'the path %s is 400',
      async (path) => {
        for (const method of ['GET', 'POST']) {
          const { status, problem, headers } = await raw(cabs, method, path);
          expect({ status, problem }).toMatchObject({ problem: { status: status, title: /\w/ } });
          expect([400, 404]).toContain(status);
          expect(headers['content-type']).toMatch(/^application\/problem\+json/);
        }
      },
    );

    it('a body nested 40,000 levels deep is 400', async () => {
      const deep = `{"name":"Jane","lastName":"Roe","x":${'['.repeat(40_000)}${']'.repeat(40_000)}}`;
      for (const headers of [{}, { 'Idempotency-Key': 'deep' }]) {
        const sent = cabs.http.post('/clients').set({ 'Content-Type': 'application/json', ...headers });
        problemOf(await sent.send(deep), 400, '');
      }
    });
  });

  describe('Unsupported', () => {
    it('a body over 100 KB is 413, also compressed or in chunks', async () => {
      const big = JSON.stringify({ ...CLIENT, x: 'x'.repeat(101 * 1024) });
      problemOf(await cabs.http.post('/clients').set('Content-Type', 'application/json').send(big), 413);
      const headers = { 'Content-Type': 'application/json', 'Content-Encoding': 'gzip' };
      expect(await raw(cabs, 'POST', '/clients', headers, gzipSync(big))).toMatchObject({ status: 413 });
      const chunked = { 'Content-Type': 'application/json', 'Transfer-Encoding': 'chunked' };
      expect(await raw(cabs, 'POST', '/clients', chunked, Buffer.from(big))).toMatchObject({ status: 413 });
    });

    it.each(['text/plain', 'application/x-www-form-urlencoded', 'application/xml', 'nonsense', 'application/jsonx'])(
      'a body in %s is 415',
      async (type) => {
        for (const path of ['/clients', `/transits/${UNKNOWN}/start`]) {
          problemOf(await cabs.http.post(path).set('Content-Type', type).send('{"name":"a"}'), 415);
        }
      },
    );

    it('a body without a type, in another character set or encoding is 415', async () => {
      const body = Buffer.from(JSON.stringify(CLIENT));
      const json = 'application/json';
      for (const headers of [
        {},
        { 'Content-Type': `${json}; charset=utf-77` },
        { 'Content-Type': json, 'Content-Encoding': 'lzma' },
      ]) {
        expect(await raw(cabs, 'POST', '/clients', headers, body)).toMatchObject({ status: 415 });
      }
      const broken = { 'Content-Type': json, 'Content-Encoding': 'gzip' };
      expect(await raw(cabs, 'POST', '/clients', broken, body)).toMatchObject({ status: 400 });
    });

    it.each(['application/json', 'application/json; charset=utf-8', 'application/vnd.cabs.v1+json'])(
      'a body in %s is read',
      async (type) => {
        const sent = cabs.http.post('/clients').set('Content-Type', type).send(JSON.stringify(CLIENT));
        expect(bodyOf(await sent, 201)).toMatchObject(CLIENT);
      },
    );
  });

  it('a conflict names the state of the ride and the state that the action needs', async () => {
    const { id } = await newRide(cabs, await newClient(cabs));
    const problem = problemOf(await cabs.http.post(`/transits/${id}/start`), 409);
    expect(Object.keys(problem).sort()).toEqual(['correlationId', 'detail', 'instance', 'status', 'title', 'type']);
    const detail = `Transit ${id} is DRAFT: it can be started when it is TRANSIT_TO_PASSENGER`;
    expect(problem).toMatchObject({ detail, title: 'Conflict' });
  });
});

/** Sends a request unchanged: supertest would normalise its path. */
function raw({ app }: Cabs, method: string, path: string, headers: OutgoingHttpHeaders = {}, body?: Buffer) {
  const { port } = app.getHttpServer().address() as AddressInfo;
  return new Promise<{ status: number; headers: IncomingHttpHeaders; problem: Problem }>((resolve, reject) => {
    const request = send({ host: '127.0.0.1', port, method, path, headers }, (reply) => {
      const chunks: Buffer[] = [];
      reply.on('data', (chunk: Buffer) => chunks.push(chunk));
      reply.on('end', () => {
        const problem = JSON.parse(Buffer.concat(chunks).toString()) as Problem;
        resolve({ status: reply.statusCode!, headers: reply.headers, problem });
      });
    });
    request.on('error', reject).end(body);
  });
}

async function reconciliationsOf(cabs: Cabs): Promise<{ runs: unknown }> {
  return { runs: ((await cabs.http.get('/mesh/reconciliations')).body as { items: unknown }).items };
}
