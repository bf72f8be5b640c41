import { once } from 'node:events';
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http';
import { connect, type AddressInfo, type Socket } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';
import { jest } from '@jest/globals';
import { gzipSync } from 'node:zlib';
import { fieldOf, ValidationFailed } from '../../src/infrastructure/contracts/domain-errors.js';
import { configureServer } from '../../src/infrastructure/http/configure-server.js';
import { Connections } from '../../src/infrastructure/http/connections.js';
import { guardMemory } from '../../src/infrastructure/http/memory-guard.js';
import { readBody } from '../../src/infrastructure/http/request-body.js';
import { protocolProblem } from '../../src/infrastructure/http/request-checks.js';
import { eventually, startCabs, type Cabs } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';

/* What clients can make a process keep or write is bounded. */

describe('Answers about bad values', () => {
  let cabs: Cabs;
  let url: string;

  beforeAll(async () => {
    cabs = await startCabs(await DATABASES[0]!.fresh(), { MESH_RECEIVE: 'true' });
    await cabs.app.listen(0, '127.0.0.1');
    url = `http://127.0.0.1:${(cabs.app.getHttpServer().address() as AddressInfo).port}`;
  });
  afterAll(() => cabs.close());

  const post = async (path: string, body: Buffer | string, headers: Record<string, string> = {}) => {
    const request = { method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body };
    const reply = await fetch(url + path, request as RequestInit);
    return { status: reply.status, body: await reply.text() };
  };
  const many = (value: string) => `{"${'k'.repeat(60_000)}":[${Array.from({ length: 4000 }, () => value).join()}]}`;

  it.each([
    ['bytes that are no UTF-8', '/clients', Buffer.from(many('"\xff"'), 'latin1')],
    ['bytes that are no UTF-8, compressed', '/clients', gzipSync(Buffer.from(many('"\xff"'), 'latin1'))],
    ['invisible text', '/clients', many('"\u200b"')],
    ['values of the wrong type', '/clients', JSON.stringify({ name: Array.from({ length: 4000 }, () => 7) })],
    ['a body for a query', '/mesh/queries/read-client', many('7')],
  ])('are short, and name the first fields: %s', async (name, path, body) => {
    const headers = name.endsWith('compressed') ? { 'content-encoding': 'gzip' } : {};
    const answer = await post(path, body, headers as Record<string, string>);
    expect(answer.status).toBe(400);
    expect(answer.body.length).toBeLessThan(20_000);
    expect(JSON.parse(answer.body)).toMatchObject({
      errors: expect.arrayContaining([
        { field: expect.any(String) as string, detail: expect.any(String) as string },
      ]) as object,
    });
  });

  it.each(['/health/live', '/mesh/outbox', '/transits'])('are short for unknown parameters of %s', async (path) => {
    const names = Array.from({ length: 3000 }, (_, n) => `p${n}`);
    const reply = await fetch(`${url}${path}?${names.join('&')}`);
    expect((await reply.text()).length).toBeLessThan(20_000);
  });

  it('names at most 20 fields, each cut', () => {
    const issues = Array.from({ length: 30 }, () => ({
      field: fieldOf(['a', 'b'.repeat(200)]),
      detail: 'd'.repeat(999),
    }));
    const { issues: kept, message } = new ValidationFailed(issues);
    expect(kept).toHaveLength(21);
    expect(kept[0]!.field).toBe(`a.${'b'.repeat(98)}…`);
    expect(message.length).toBeLessThan(10_000);
  });
});

describe('Connections', () => {
  let connections: Connections;
  let server: Server;
  let port: number;
  let sockets: Socket[];

  const serve = async (handle: RequestListener, configure: (server: Server) => void = () => undefined) => {
    connections = new Connections();
    server = createServer((request, response) =>
      connections.take(request.socket, response, () => handle(request, response)),
    );
    configureServer(server, connections);
    configure(server);
    connections.watch(server);
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    port = (server.address() as AddressInfo).port;
    sockets = [];
  };
  const open = async (text: string) => {
    const socket = connect(port, '127.0.0.1').on('error', () => undefined);
    sockets.push(socket);
    await once(socket, 'connect');
    socket.pause().write(text);
    return socket;
  };
  const received = async (socket: Socket) => {
    let text = '';
    socket.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')));
    socket.resume();
    await once(socket, 'close');
    return text;
  };
  afterEach(() => {
    for (const socket of sockets) socket.destroy();
    server.closeAllConnections();
    server.close();
  });
  const GET = 'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n';

  it('keep 32 MB of unread answers at most: the longest unread is closed first, and who reads gets everything', async () => {
    const answer = Buffer.alloc(8 * 1024 * 1024, 'a');
    const written: Socket[] = [];
    await serve((request, response) => {
      written.push(request.socket);
      response.end(answer);
    });
    const silent: Socket[] = [];
    for (let n = 0; n < 12; n++) {
      silent.push(await open(GET));
      await eventually(
        async () => written.length,
        (count) => count === n + 1,
      );
      await wait(20);
    }
    const unread = () => written.reduce((sum, it) => sum + (it.destroyed ? 0 : it.writableLength), 0);
    expect(unread()).toBeLessThanOrEqual(32 * 1024 * 1024);
    expect(written[0]!.destroyed).toBe(true);
    expect(written.at(-1)!.destroyed).toBe(false);
    const reader = await open(GET.replace('Host', 'Connection: close\r\nHost'));
    expect((await received(reader)).length).toBeGreaterThan(answer.length);
  });

  it('with unread answers make room for others, even while no memory is short', async () => {
    const answer = Buffer.alloc(8 * 1024 * 1024, 'a');
    const written: Socket[] = [];
    await serve(
      (request, response) => {
        written.push(request.socket);
        response.end(request.url === '/large' ? answer : 'alive');
      },
      (it) => (it.maxConnections = 3),
    );
    for (let n = 0; n < 3; n++) {
      await open(GET.replace('/', '/large'));
      await wait(30);
    }
    const reply = await fetch(`http://127.0.0.1:${port}/`);
    expect(await reply.text()).toBe('alive');
    expect(written[0]!.destroyed).toBe(true);
  });

  it('with a request on its way are kept when slower ones can make room', async () => {
    await serve(
      (request, response) => {
        if (request.method === 'GET') response.end('alive');
      },
      (it) => (it.maxConnections = 10),
    );
    for (let n = 0; n < 8; n++) await open('POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nslow');
    await wait(50);
    const honest = await open('');
    for (let n = 0; n < 6; n++) await open('');
    const answered = received(honest);
    honest.write(GET.replace('Host', 'Connection: close\r\nHost'));
    expect(await answered).toMatch(/alive$/);
  });

  it('take no notice of what follows garbage', async () => {
    const responses: ServerResponse[] = [];
    await serve((_, response) => {
      responses.push(response);
      setTimeout(() => response.end('late'), 300);
    });
    const errors: Error[] = [];
    server.on('clientError', (error) => errors.push(error));
    const socket = await open(`${GET}\0\0`);
    socket.setNoDelay(true);
    for (let n = 0; n < 50; n++) {
      socket.write('x');
      await wait(2);
    }
    expect(errors.length).toBeLessThan(5);
    expect(responses[0]!.listenerCount('finish')).toBeLessThan(4);
    expect(await received(socket)).toMatch(/late$/);
  });

  it('are forgotten when their request was broken in the middle of its body', async () => {
    await serve((request) => void request.resume());
    for (let n = 0; n < 20; n++) {
      const head = 'POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n';
      expect(await received(await open(`${head}5\r\n{"a":\r\nZZ\r\n`))).toMatch(/^HTTP\/1\.1 400/);
    }
    expect(connections['exchanges'].size).toBe(0);
  });

  it('answer an unknown expectation in its turn, and end then', async () => {
    let handled = 0;
    await serve((request, response) => {
      const problem = protocolProblem(request);
      handled++;
      setTimeout(() => {
        if (problem) response.shouldKeepAlive = false;
        response.writeHead(problem?.status ?? 200).end();
      }, 20);
    });
    const strange = 'GET / HTTP/1.1\r\nHost: localhost\r\nExpect: x\r\n\r\n';
    const socket = await open(GET + strange.repeat(50));
    const statuses = [...(await received(socket)).matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => status);
    expect(statuses).toEqual(['200', '417']);
    expect(handled).toBe(2);
  });

  it('with an unread answer take no part of what bodies may hold', async () => {
    const body = Buffer.alloc(1024 * 1024, 'b');
    const answer = Buffer.alloc(8 * 1024 * 1024, 'a');
    const refused: unknown[] = [];
    await serve((request, response) => {
      readBody(request, response, 2 * body.length).then(
        () => response.end(request.url === '/small' ? 'kept' : answer),
        (error: unknown) => {
          refused.push(error);
          response.destroy();
        },
      );
    });
    const head = (path: string) => `POST ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${body.length}\r\n\r\n`;
    for (let n = 0; n < 40; n++) {
      (await open(head('/large'))).write(body);
      await wait(5);
    }
    const small = await fetch(`http://127.0.0.1:${port}/small`, { method: 'POST', body });
    expect(await small.text()).toBe('kept');
    expect(refused).toEqual([]);
  });

  const CHUNKED = 'POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n';

  it('keep nothing of a body that was not read, while the client does not take the answer', async () => {
    const requests: IncomingMessage[] = [];
    await serve((request, response) => {
      requests.push(request);
      response.writeHead(401).end(Buffer.alloc(8 * 1024 * 1024, 'a'));
    });
    const socket = await open(CHUNKED);
    for (let n = 0; n < 5; n++) {
      socket.write('1\r\nx\r\n'.repeat(2000));
      await wait(20);
    }
    expect(requests).toHaveLength(1);
    expect(requests[0]!.readableLength).toBe(0);
  });

  it('whose bodies come byte by byte while their requests wait are closed, and others are not', async () => {
    const requests: IncomingMessage[] = [];
    await serve((request, response) => {
      requests.push(request);
      setTimeout(() => {
        readBody(request, response, 1000).then(
          (body) => response.end(body),
          () => response.destroy(),
        );
      }, 1000);
    });
    const small = fetch(`http://127.0.0.1:${port}/`, { method: 'POST', body: 'kept' });
    const hostile = await Promise.all(Array.from({ length: 20 }, () => open(CHUNKED + '1\r\nx\r\n'.repeat(9000))));
    await wait(500);
    const pieces = requests.reduce((sum, { readableLength }) => sum + readableLength, 0);
    expect(pieces).toBeLessThan(40_000);
    expect(await (await small).text()).toBe('kept');
    for (const socket of hostile) socket.destroy();
    await wait(100);
    const after = await Promise.all(
      [1, 2, 3].map(() => fetch(`http://127.0.0.1:${port}/`, { method: 'POST', body: 'kept' })),
    );
    expect(await Promise.all(after.map((it) => it.text()))).toEqual(['kept', 'kept', 'kept']);
  });

  it('without work are closed when memory is short, and others get their answers', async () => {
    const large = Buffer.alloc(8 * 1024 * 1024, 'a');
    await serve((request, response) => {
      if (request.url === '/large') response.end(large);
      else if (request.method === 'GET') setTimeout(() => response.end('done'), 500);
    });
    const idle = await open('');
    const unread = await open(GET.replace('/', '/large'));
    const unfinished = await open('POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nslow');
    const closed = Promise.all([idle, unread, unfinished].map((it) => once(it.resume(), 'close')));
    const answer = fetch(`http://127.0.0.1:${port}/`);
    await wait(50);
    const counts: number[] = [];
    // Every process uses more of its heap.
    const stop = guardMemory(() => counts.push(connections.closeUnworked()), 0.0001);
    await closed;
    expect(await (await answer).text()).toBe('done');
    stop();
    expect(counts[0]).toBe(3);
    // Closed connections need a while until they take up nothing any more.
    expect(counts.length).toBe(1);
  });

  it('leave the memory guard alone while memory is not short', async () => {
    const shed = jest.fn(() => 0);
    const stop = guardMemory(shed, 0.99);
    await wait(300);
    stop();
    expect(shed).not.toHaveBeenCalled();
  });

  it('that send a body slowly make room for others', async () => {
    await serve(
      (request, response) => {
        if (request.method === 'GET') response.end('alive');
      },
      (it) => (it.maxConnections = 10),
    );
    for (let n = 0; n < 10; n++) await open('POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nslow');
    await wait(50);
    const reply = await fetch(`http://127.0.0.1:${port}/`);
    expect(await reply.text()).toBe('alive');
  });

  it.each([
    ['garbage', '\0\0\0'],
    ['a request after Connection: close', GET],
  ])('answer a request that is followed by %s, and end then', async (name, after) => {
    await serve((request, response) => {
      request.resume();
      setTimeout(() => response.writeHead(201).end('made'), 50);
    });
    const close = name === 'garbage' ? '' : 'Connection: close\r\n';
    const socket = await open(`POST / HTTP/1.1\r\nHost: localhost\r\n${close}Content-Length: 2\r\n\r\n{}${after}`);
    const text = await received(socket);
    expect(text).toMatch(/^HTTP\/1\.1 201 [^]*made/);
    expect(text.match(/HTTP\/1\.1/g)).toHaveLength(1);
  });
});
