import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import type { AddressInfo, Socket } from 'node:net';
import { connect } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';
import { Connections } from '../../src/infrastructure/http/connections.js';
import { eventually, startCabs, type Cabs } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';

describe('Clients that do not read, or do not send', () => {
  let cabs: Cabs;
  let port: number;
  const sockets = new Set<Socket>();

  beforeAll(async () => {
    cabs = await startCabs(await DATABASES[0]!.fresh(), { MESH_RECEIVE: 'true' });
    await cabs.app.listen(0, '127.0.0.1');
    port = (cabs.app.getHttpServer().address() as AddressInfo).port;
    cabs.app.getHttpServer().on('connection', (socket: Socket) => sockets.add(socket));
  });
  afterAll(() => cabs.close());

  /** Opens a connection, sends a text, and reads nothing until `answers()` is called. */
  const sent = async (text: string) => {
    const socket = connect(port, '127.0.0.1').on('error', () => undefined);
    await once(socket, 'connect');
    socket.pause().write(text);
    const closed = once(socket, 'close');
    let received = '';
    const read = () => socket.setEncoding('utf8').on('data', (it: string) => (received += it)) && socket.resume();
    const answers = async (isMet: (text: string) => boolean) => {
      read();
      return eventually(async () => received, isMet, 5000);
    };
    return { socket, closed, answers };
  };
  const count = (text: string) => text.match(/HTTP\/1\.1 200/g)?.length ?? 0;
  const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`;
  const post = (path: string, ...headers: string[]) =>
    `POST ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n${headers.join('\r\n')}\r\n\r\n`;

  it('pipelined requests are answered in their order', async () => {
    const { socket, answers } = await sent(Array.from({ length: 50 }, (_, n) => get(`/clients/0${n}`)).join(''));
    const text = await answers((it) => it.split('"instance"').length > 50);
    const paths = [...text.matchAll(/"instance":"\/clients\/0(\d+)"/g)].map(([, n]) => Number(n));
    expect(paths).toEqual(Array.from({ length: 50 }, (_, n) => n));
    socket.destroy();
  });

  it('a client that pipelines more than 100 requests gets some answers, and then Connection: close', async () => {
    const { closed, answers } = await sent(get('/health/live').repeat(1500));
    const text = await answers((it) => /Connection: close/.test(it));
    await closed;
    expect(count(text)).toBeGreaterThan(90);
    expect(count(text)).toBeLessThanOrEqual(101);
    expect(text.match(/Connection: close/g)).toHaveLength(1);
  });

  it('requests that wait are bounded for all connections together, and forgotten when these are closed', async () => {
    const connections = cabs.app.get<unknown, { held: number }>(Connections);
    const held = () => connections.held;
    let most = 0;
    const watch = setInterval(() => (most = Math.max(most, held())), 1);
    const clients = await Promise.all(Array.from({ length: 40 }, () => sent(get('/health/live').repeat(1500))));
    for (const { socket } of clients) socket.resume();
    await Promise.all(clients.map(({ closed }) => closed));
    clearInterval(watch);
    expect(most).toBeLessThanOrEqual(10_001);
    await eventually(
      async () => held(),
      (it) => it === 0,
    );
    const { answers, socket } = await sent(get('/health/live').repeat(3));
    await answers((it) => count(it) === 3);
    socket.destroy();
  });

  it.each(['/api/swagger-ui-bundle.js', '/api-json', '/transits'])(
    'a client that pipelines %s and does not read costs one answer and no file, and nothing when it is gone',
    async (path) => {
      const before = readdirSync('/proc/self/fd').length;
      sockets.clear();
      const clients = await Promise.all(Array.from({ length: 5 }, () => sent(get(path).repeat(600))));
      await eventually(
        async () => sockets.size,
        (it) => it === 5,
      );
      await wait(300);
      const buffered = [...sockets].map(({ writableLength }) => writableLength);
      for (const bytes of buffered) expect(bytes).toBeLessThan(2_000_000);
      // The ends of the connections.
      expect(readdirSync('/proc/self/fd').length - before).toBeLessThan(15);
      for (const { socket } of clients) socket.destroy();
      await eventually(
        async () => readdirSync('/proc/self/fd').length,
        (now) => now <= before,
        5000,
      );
    },
  );

  it.each(['/clients', '/mesh/drivers'])(
    'a body for %s that is too large is refused before it is sent',
    async (path) => {
      for (const expect100 of [[], ['Expect: 100-continue']]) {
        const { socket, answers } = await sent(post(path, 'Content-Length: 100000000', 'ce-id: 1', ...expect100));
        const text = await answers((it) => it.includes('"detail"'));
        expect(text).toMatch(/^HTTP\/1\.1 413 [^]*"status":413/);
        expect(text).not.toContain('100 Continue');
        socket.destroy();
      }
    },
  );

  it('a body without a length is refused as soon as it is too large', async () => {
    const { socket, answers } = await sent(post('/clients', 'Transfer-Encoding: chunked'));
    socket.write(`20000\r\n${'x'.repeat(0x20000)}\r\n`);
    expect(await answers((it) => it.includes('"detail"'))).toMatch(/^HTTP\/1\.1 413 /);
    socket.destroy();
  });

  it('a client with Expect: 100-continue is asked for a body that will be read', async () => {
    const body = '{"name":"Jane","lastName":"Roe"}';
    const { socket, answers } = await sent(post('/clients', `Content-Length: ${body.length}`, 'Expect: 100-continue'));
    await answers((it) => it === 'HTTP/1.1 100 Continue\r\n\r\n');
    socket.write(body);
    expect(await answers((it) => it.includes('"lastName"'))).toContain('HTTP/1.1 201 Created');
    socket.destroy();
  });

  it('the API page is served in production only when that is asked for', async () => {
    const production = { NODE_ENV: 'production', MESH_PORT: '0' };
    const closed = await startCabs(await migrated(), production);
    const open = await startCabs(await migrated(), { ...production, API_PAGE: 'true' });
    for (const path of ['/api', '/api/', '/api-json', '/api/swagger-ui.css', '/api/swagger-ui-bundle.js']) {
      expect([path, (await closed.http.get(path)).status, (await open.http.get(path)).status]).toEqual([
        path,
        404,
        200,
      ]);
    }
    await Promise.all([closed.close(), open.close()]);
  });

  const migrated = async () => {
    const database = await DATABASES[0]!.fresh();
    await (await startCabs(database)).close();
    return database;
  };
});
