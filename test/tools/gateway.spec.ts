import { once } from 'node:events';
import { Agent, createServer, request, type IncomingMessage, type RequestListener } from 'node:http';
import { connect, type AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { MODULE_NAMES, MODULES } from '../../src/app.module.js';
import { startGateway, type Gateway } from '../../tools/gateway.js';
import { routesOf, RouteTable } from '../../tools/gateway/routes.js';
import { eventually } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';
import { startServer, type ServerProcess } from '../support/server.js';

/** Servers that are stopped after the test. */
const open: { stop(): Promise<unknown> }[] = [];
afterEach(async () => {
  for (const it of open.splice(0).reverse()) await it.stop();
});

async function listening(answer: RequestListener): Promise<string> {
  const server = createServer(answer).listen(0, '127.0.0.1');
  await once(server, 'listening');
  open.push({
    stop: async () => {
      server.close();
      server.closeAllConnections();
    },
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function gatewayTo(modules: Record<string, string>): Promise<Gateway> {
  const gateway = await startGateway({ routes: routesOf(MODULES), modules, port: 0 });
  open.push(gateway);
  return gateway;
}

const all = (url: string) => Object.fromEntries(MODULE_NAMES.map((name) => [name, url]));

describe('The gateway in front of the monolith', () => {
  let monolith: ServerProcess;
  beforeAll(async () => {
    monolith = await startServer({ DATABASE_URL: await DATABASES[0]!.fresh(), SEED: 'demo' });
  }, 30_000);
  afterAll(() => monolith?.end('SIGKILL'));

  it('forwards each operation of the API to the module that answers it', async () => {
    const ownNames = MODULE_NAMES.map(async (name) => {
      return [name, await listening((_, response) => void response.end(JSON.stringify({ name })))] as const;
    });
    const gateway = await gatewayTo(Object.fromEntries(await Promise.all(ownNames)));
    type Operations = Record<string, { tags: string[] }>;
    const { paths } = await json<{ paths: Record<string, Operations> }>(`${monolith.url}/api-json`);
    const operations = Object.entries(paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, { tags }]) => ({ method: method.toUpperCase(), path, tag: tags[0]! })),
    );
    const isGathered = ({ tag }: { tag: string }) => ['Mesh', 'Health', 'Reconciliation'].includes(tag);
    const ofModules = operations.filter((it) => !isGathered(it));
    const answeredBy: string[] = [];
    for (const { method, path } of ofModules) {
      const response = await fetch(gateway.url + path.replace(/{\w+}/g, '1'), { method });
      answeredBy.push(((await response.json()) as { name: string }).name);
    }
    const tags: Record<string, string> = { Rides: 'rides', Geolocation: 'geolocation', Invoicing: 'invoicing' };
    expect(answeredBy).toEqual(ofModules.map(({ tag }) => tags[tag] ?? tag.toLowerCase()));
    expect(new Set(answeredBy)).toEqual(new Set(MODULE_NAMES));

    const written = (path: string) => path.replace(/{(\w+)}/g, ':$1');
    const known = routesOf(MODULES).map(({ method, path }) => `${method} ${path}`);
    expect(known.sort()).toEqual(ofModules.map(({ method, path }) => `${method} ${written(path)}`).sort());

    const aggregating = await gatewayTo(all(monolith.url));
    for (const { method, path } of operations.filter(isGathered)) {
      const response = await fetch(aggregating.url + path.replace(/{\w+}/g, '0'), { method });
      expect(await response.text()).not.toMatch(/Cannot/);
    }
  });

  it('answers as the monolith does, also for invalid requests', async () => {
    const gateway = await gatewayTo(all(monolith.url));
    const body = '{"name":"Anna","lastName":"Nowak"}';
    const type = { 'content-type': 'application/json' };
    const requests: [method: string, path: string, sent?: string, headers?: Record<string, string>][] = [
      ['GET', '/clients/1'],
      ['HEAD', '/clients/1'],
      ['GET', '/CLIENTS/1/'],
      ['GET', '/clients/1/awards'],
      ['GET', '/clients/999'],
      ['GET', '/clients/%zz'],
      ['GET', '//clients/1'],
      ['GET', '/clients/1/nothing'],
      ['GET', '/transits?size=1&page=2'],
      ['GET', '/transits?size=0'],
      ['GET', '/nowhere'],
      ['GET', '/nowhere?a=b%20c'],
      ['GET', '/'],
      ['POST', '/', body, type],
      ['POST', '/mesh/rides', body, type],
      ['POST', '/mesh/queries/read-client', body, type],
      ['DELETE', '/mesh/outbox'],
      ['PUT', '/clients'],
      ['OPTIONS', '/clients'],
      ['DELETE', '/transits/1/complete'],
      ['POST', '/clients', body, { ...type, 'idempotency-key': 'gateway' }],
      ['POST', '/clients', '{"name":', type],
      ['POST', '/clients', '{"name":"Anna"}', type],
      ['POST', '/clients', 'name=Anna', { 'content-type': 'application/x-www-form-urlencoded' }],
      ['POST', '/clients', JSON.stringify({ name: 'x'.repeat(3_000_000) }), type],
      ['GET', '/api'],
      ['GET', '/api/swagger-ui.css'],
      ['GET', '/api/nothing'],
      ['GET', '/health/live'],
      ['GET', '/health/ready'],
      ['GET', '/mesh/dead-letters?size=0'],
    ];
    for (const [method, path, sent, headers] of requests) {
      const send = async (url: string) => {
        const response = await fetch(url + path, {
          method,
          body: sent,
          redirect: 'manual',
          headers: { ...headers, 'x-correlation-id': 'same' },
        });
        const given = Object.fromEntries(response.headers);
        for (const name of ['date', 'etag', 'connection', 'keep-alive', 'cache-control']) delete given[name];
        return { method, path, status: response.status, headers: given, body: await response.text() };
      };
      const direct = await send(monolith.url);
      expect(await send(gateway.url)).toEqual(direct);
    }
  });

  it('shows one document of the API', async () => {
    const gateway = await gatewayTo(all(monolith.url));
    expect(await json(`${gateway.url}/api-json`)).toEqual(await json(`${monolith.url}/api-json`));
  });
});

describe('The gateway', () => {
  it('forwards requests and answers unchanged, except for the headers of a connection', async () => {
    let seen: IncomingMessage | undefined;
    const url = await listening((request, response) => {
      seen = request;
      response.writeHead(202, [
        'Location',
        '/transits/7',
        'Preference-Applied',
        'wait=10',
        'X-Hop',
        'no',
        'Connection',
        'close, x-hop',
        'Set-Cookie',
        'a=1',
        'Set-Cookie',
        'b=2',
        'Content-Type',
        'text/plain',
      ]);
      request.pipe(response);
    });
    const gateway = await gatewayTo(all(url));
    const body = 'Żytnia '.repeat(500_000);
    const given = { prefer: 'wait=10', 'idempotency-key': 'k', 'x-correlation-id': 'c', authorization: 'Bearer t' };
    const outgoing = request(`${gateway.url}/transits/7/complete?a=%C5%BB&b`, { method: 'POST', headers: given });
    outgoing.setHeader('Connection', 'keep-alive, X-Hop').setHeader('X-Hop', 'no').setHeader('X-Two', ['1', '2']);
    outgoing.end(body);
    const [incoming] = (await once(outgoing, 'response')) as [IncomingMessage];
    expect(await text(incoming)).toBe(body);
    expect(incoming.statusCode).toBe(202);
    expect(incoming.headers).toMatchObject({
      location: '/transits/7',
      'preference-applied': 'wait=10',
      'set-cookie': ['a=1', 'b=2'],
      'content-type': 'text/plain',
      connection: 'keep-alive',
    });
    expect(incoming.headers).not.toHaveProperty('x-hop');
    expect(seen).toMatchObject({ method: 'POST', url: '/transits/7/complete?a=%C5%BB&b' });
    expect(seen!.headers).toMatchObject({ ...given, 'x-two': '1, 2' });
    expect(seen!.headers).not.toHaveProperty('x-hop');
  });

  it('refuses request targets that could mean another path to a process', async () => {
    const forwarded: string[] = [];
    const url = await listening((request, response) => {
      forwarded.push(request.url!);
      response.end('{}');
    });
    const { port } = new URL((await gatewayTo(all(url))).url);
    const send = async (path: string, method = 'POST') => {
      const outgoing = request({ host: '127.0.0.1', port, method, headers: { connection: 'close' } });
      // Node would refuse some of these targets.
      Object.assign(outgoing, { path });
      const [incoming] = (await once(outgoing.end(), 'response')) as [IncomingMessage];
      return { path, status: incoming.statusCode, body: await text(incoming) };
    };
    const ambiguous = [
      '/clients/..\\mesh\\loyalty',
      '/clients\\..\\mesh/loyalty',
      '/clients/..%5cmesh%5Cloyalty',
      '/clients/../mesh/loyalty',
      '/clients/%2e%2e/mesh/loyalty',
      '/clients/.%2E/mesh/loyalty',
      '/clients/%2e./mesh/loyalty',
      '/clients/./1',
      '/clients/..',
      '/clients/%2E%2E?a=1',
      '/clients/..%2fmesh%2Floyalty',
      '/clients/1%2f..%2f..%2fmesh/loyalty',
      '/mesh/dead-letters/%2e%2e',
      '/api/../mesh/loyalty',
      '/clients/1#/../../mesh/loyalty',
      `${url}/mesh/loyalty`,
      'http://localhost/clients/1',
      'clients/1',
      '*',
    ];
    for (const path of ambiguous) {
      const { status, body } = await send(path);
      expect({ path, status }).toEqual({ path, status: 400 });
      // The HTTP parser of Node refuses some targets by itself, without a body.
      if (body !== '') expect(JSON.parse(body)).toMatchObject({ title: expect.any(String), status: 400 });
    }
    expect(forwarded).toEqual([]);
    const plain = ['/clients/1?a=../%2f\\..', '/clients/...', '/clients/.well-known', '/clients/%20%252e%252e'];
    for (const path of plain) expect(await send(path, 'GET')).toMatchObject({ path, status: 200 });
    expect(forwarded).toEqual(plain);
    // Empty segments change no route: the monolith doesn't know these paths, either.
    for (const path of ['//clients/1', '/clients//1', '//mesh/loyalty']) expect((await send(path)).status).toBe(404);
  });

  it('answers the next request of a connection after a module has refused a large body', async () => {
    const url = await listening((incoming, response) =>
      response.writeHead(incoming.method === 'GET' ? 200 : 413).end(),
    );
    const gateway = await gatewayTo(all(url));
    const socket = connect(Number(new URL(gateway.url).port), '127.0.0.1');
    let answers = '';
    socket.setEncoding('latin1').on('data', (it: string) => (answers += it));
    const body = 'x'.repeat(8_000_000);
    socket.write(`POST /clients HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
    socket.write('GET /clients/1 HTTP/1.1\r\nHost: localhost\r\n\r\n');
    await eventually(
      async () => answers.match(/^HTTP\/1\.1 \d+/gm),
      (it) => it?.length === 2,
      5000,
    );
    expect(answers).toMatch(/^HTTP\/1\.1 413[^]*HTTP\/1\.1 200/);
    socket.destroy();
  });

  it('forwards one request of a connection after the other, also for a client that does not read', async () => {
    let [inFlight, most, count] = [0, 0, 0];
    const url = await listening((_, response) => {
      [count, inFlight] = [count + 1, inFlight + 1];
      most = Math.max(most, inFlight);
      response.once('close', () => inFlight--);
      setTimeout(() => response.end('x'.repeat(1000)), 5);
    });
    const gateway = await gatewayTo(all(url));
    const socket = connect(Number(new URL(gateway.url).port), '127.0.0.1').on('error', () => undefined);
    socket.pause().write('GET /clients/1 HTTP/1.1\r\nHost: localhost\r\n\r\n'.repeat(300));
    await eventually(
      async () => count,
      (it) => it > 50,
    );
    expect(most).toBe(1);
    socket.destroy();
  });

  it('forwards each chunk of an answer at once, and closes the request when the client disconnects', async () => {
    const ends: string[] = [];
    const url = await listening((_, response) => {
      response.once('close', () => ends.push(response.writableFinished ? 'finished' : 'left'));
      response.writeHead(200).write('first');
    });
    const gateway = await gatewayTo(all(url));
    const leave = new AbortController();
    const response = await fetch(`${gateway.url}/drivers/1`, { signal: leave.signal });
    const { value } = await response.body!.getReader().read();
    expect(Buffer.from(value!).toString()).toBe('first');
    expect(ends).toEqual([]);
    leave.abort();
    await eventually(
      async () => ends,
      (it) => it.length > 0,
    );
    expect(ends).toEqual(['left']);
  });

  it('names the module that is down, keeps the connection open, and answers for the other modules', async () => {
    const url = await listening((_, response) => void response.end('{"is":"here"}'));
    const gateway = await gatewayTo({ ...all(url), drivers: await unusedAddress(), clients: await closingServer() });
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const send = async (method: string, path: string, body = '') => {
      const outgoing = request(gateway.url + path, { method, agent, headers: { 'x-correlation-id': 'c' } });
      outgoing.end(body);
      const [incoming] = (await once(outgoing, 'response')) as [IncomingMessage];
      const { statusCode: status, headers } = incoming;
      return { status, headers, body: JSON.parse(await text(incoming)), port: incoming.socket?.localPort };
    };
    const down = await send('POST', '/drivers', '{}');
    expect(down).toMatchObject({
      status: 503,
      headers: { 'retry-after': '1', 'x-correlation-id': 'c' },
      body: {
        type: 'about:blank',
        title: 'Service unavailable',
        status: 503,
        instance: '/drivers',
        correlationId: 'c',
        detail: 'drivers is not running now',
      },
    });
    expect(down.headers['content-type']).toMatch('application/problem+json');
    expect(await send('POST', '/clients', '{}')).toMatchObject({
      status: 503,
      body: { detail: expect.stringMatching(/^clients did not answer/) },
    });
    expect(await send('GET', '/invoices')).toMatchObject({ status: 200, body: { is: 'here' } });
    expect(Object.values(agent.freeSockets).flat()).toHaveLength(1);
    agent.destroy();
  });

  it('aborts an answer that a module aborts', async () => {
    const url = await listening((_, response) => {
      response.writeHead(200, { 'content-length': 100 }).write('half of');
      setTimeout(() => response.destroy(), 20);
    });
    const gateway = await gatewayTo(all(url));
    await expect(fetch(`${gateway.url}/drivers/1`).then((it) => it.text())).rejects.toThrow('terminated');
  });

  it('prefers a name to a parameter', () => {
    const paths = ['/:any/b', '/a/:id', '/a/b', '/:any/:id'].map((path) => ({ method: 'GET', path }));
    const find = (path: string) => new RouteTable(paths).find('HEAD', path)?.route.path;
    expect(['/a/b', '/A/x/', '/x/b', '/x/y', '/a'].map(find)).toEqual([
      '/a/b',
      '/a/:id',
      '/:any/b',
      '/:any/:id',
      undefined,
    ]);
  });

  it('does not start without the address of each module', async () => {
    const { rides: _, ...others } = all('http://localhost:1');
    await expect(gatewayTo(others)).rejects.toThrow('Missing --module rides=URL: the address of rides.');
  });
});

/** The address of a server that closes each connection without an answer. */
function closingServer(): Promise<string> {
  return listening((request) => void request.socket.destroy());
}

async function unusedAddress(): Promise<string> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  return `http://127.0.0.1:${port}`;
}

async function json<Body>(url: string): Promise<Body> {
  return (await (await fetch(url)).json()) as Body;
}

describe('The gateway refuses malformed requests, and closes the connection', () => {
  it.each([
    ['Host: localhost\r\nTransfer-Encoding: gzip, chunked', '0\r\n\r\n'],
    ['Host: localhost\r\nHost: localhost', ''],
    ['Accept: */*', ''],
  ])('with %j', async (headers, body) => {
    const forwarded: string[] = [];
    const module = await listening((request, response) => {
      forwarded.push(request.url!);
      response.end('{}');
    });
    const gateway = await gatewayTo(all(module));
    const socket = connect(Number(new URL(gateway.url).port), '127.0.0.1');
    socket.on('error', () => undefined);
    let received = '';
    socket.on('data', (chunk: Buffer) => (received += chunk.toString()));
    socket.write(`POST /clients HTTP/1.1\r\n${headers}\r\n\r\n${body}`);
    socket.write('GET /clients/1 HTTP/1.1\r\nHost: localhost\r\n\r\n');
    await once(socket, 'close');
    expect(received.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 400']);
    expect(received).toContain('application/problem+json');
    expect(forwarded).toEqual([]);
  });

  it('and lets a client send its body after 100 Continue', async () => {
    const module = await listening((message, response) => void message.pipe(response));
    const gateway = await gatewayTo(all(module));
    const sent = request(`${gateway.url}/clients`, { method: 'POST', headers: { expect: '100-continue' } });
    sent.flushHeaders();
    await once(sent, 'continue');
    sent.end('{"a":1}');
    const [response] = (await once(sent, 'response')) as [IncomingMessage];
    expect(await text(response)).toBe('{"a":1}');
  });
});
