import { once } from 'node:events';
import { Agent, request as send, type IncomingHttpHeaders, type IncomingMessage } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { connect } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';
import { MeshListener } from '../../src/infrastructure/http/mesh-listener.js';
import { Reconciliation } from '../../src/infrastructure/maintenance/reconciliation.js';
import { UnitOfWork } from '../../src/infrastructure/persistence/unit-of-work.js';
import { ReconcileTransits } from '../../src/modules/rides/reconcile-transits.js';
import { eventually, startCabs, type Cabs } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';

describe('A process that stops', () => {
  let cabs: Cabs;
  let ports: number[];
  let agent: Agent;

  const start = async (environment: Record<string, string> = {}) => {
    agent = new Agent({ keepAlive: true });
    cabs = await startCabs(await DATABASES[0]!.fresh(), { MESH_PORT: '0', SHUTDOWN_GRACE: 'PT30S', ...environment });
    await cabs.app.listen(0, '127.0.0.1');
    ports = [(cabs.app.getHttpServer().address() as AddressInfo).port, cabs.app.get(MeshListener).port!];
  };
  afterEach(async () => {
    agent.destroy();
    await cabs.close();
  });

  const get = (port: number, path = '/health/live') =>
    new Promise<{ status: number; headers: IncomingHttpHeaders; body: string }>((resolve, reject) => {
      send({ host: '127.0.0.1', port, path, agent }, (reply) => {
        let body = '';
        reply.setEncoding('utf8').on('data', (text: string) => (body += text));
        reply.once('end', () => resolve({ status: reply.statusCode!, headers: reply.headers, body }));
      })
        .once('error', reject)
        .end();
    });

  /** Opens a connection and sends a text. */
  const opened = async (port: number, text = ''): Promise<Socket> => {
    const socket = connect(port, '127.0.0.1');
    socket.on('error', () => undefined).resume();
    await once(socket, 'connect');
    socket.write(text);
    return socket;
  };

  it('ends within a second of its delay under load on kept connections of both ports, and asks clients to close them', async () => {
    await start({ SHUTDOWN_DELAY: 'PT0.2S' });
    const last: IncomingHttpHeaders[] = [];
    let isOver = false;
    const load = ports.flatMap((port) =>
      Array.from({ length: 5 }, async (_, index) => {
        while (!isOver) {
          const reply = await get(port).catch(() => undefined);
          if (!reply) return;
          last[index + (port === ports[0] ? 0 : 5)] = reply.headers;
        }
      }),
    );
    await wait(200);
    const began = performance.now();
    await cabs.close();
    expect(performance.now() - began).toBeLessThan(1200);
    isOver = true;
    await Promise.all(load);
    expect(last.map(({ connection }) => connection)).toEqual(Array(10).fill('close'));
  });

  it('does not wait for a reconciler longer than its grace', async () => {
    await start({ SHUTDOWN_GRACE: 'PT0.5S' });
    cabs.app.get(ReconcileTransits).page = () => new Promise(() => undefined);
    void cabs.app.get(Reconciliation).run({ isDryRun: true });
    const began = performance.now();
    await cabs.close();
    const ms = performance.now() - began;
    expect(ms).toBeGreaterThan(400);
    expect(ms).toBeLessThan(3000);
  });

  it('closes silent connections, and answers the request in flight', async () => {
    await start();
    const sockets = await Promise.all(
      ports.flatMap((port) =>
        ['', 'GET /health', 'GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n'].map((it) => opened(port, it)),
      ),
    );
    await eventually(
      async () => sockets.map((it) => it.bytesRead > 0),
      (it) => it.filter(Boolean).length === 2,
    );
    // A unit of work that waits keeps the next one waiting.
    const busy = cabs.app.get(UnitOfWork).run(() => wait(700));
    const body = '{"name":"Jane","lastName":"Roe"}';
    const headers = { 'content-type': 'application/json' };
    const inFlight = once(
      send({ host: '127.0.0.1', port: ports[0], path: '/clients', method: 'POST', headers }).end(body),
      'response',
    );
    await wait(100);
    const began = performance.now();
    const closed = cabs.close();
    await Promise.all(sockets.map(async (it) => it.closed || once(it, 'close')));
    const [reply] = (await inFlight) as [IncomingMessage];
    expect([reply.statusCode, reply.headers.connection]).toEqual([201, 'close']);
    reply.resume();
    await Promise.all([busy, closed]);
    expect(performance.now() - began).toBeLessThan(1700);
  });

  it('is not ready, but answers on new connections, as long as SHUTDOWN_DELAY says', async () => {
    await start({ SHUTDOWN_DELAY: 'PT0.6S' });
    for (const port of ports) {
      const { status, headers } = await get(port, '/health/ready');
      expect([status, headers.connection, headers['keep-alive']]).toEqual([200, 'keep-alive', 'timeout=95, max=10000']);
    }
    const began = performance.now();
    const closed = cabs.close();
    await eventually(
      () => get(ports[0]!, '/health/ready'),
      ({ status }) => status === 503,
    );
    for (const port of ports) {
      const [ready, live] = [await get(port, '/health/ready'), await get(port)];
      expect([ready.status, live.status]).toEqual([503, 200]);
      expect([ready.headers.connection, live.headers.connection]).toEqual(['close', 'close']);
      expect(JSON.parse(ready.body)).toMatchObject({ detail: 'The process is stopping' });
    }
    await closed;
    expect(performance.now() - began).toBeGreaterThan(550);
    for (const port of ports) await expect(get(port)).rejects.toThrow(/ECONNREFUSED/);
  });

  it('has limits for connections that were chosen, not the defaults of Node', async () => {
    await start();
    const { keepAliveTimeout, headersTimeout, requestTimeout, maxRequestsPerSocket, maxConnections } =
      cabs.app.getHttpServer();
    // The longest of nginx, AWS load balancers and Go's client is 90 s.
    expect(keepAliveTimeout).toBeGreaterThan(90_000);
    expect([headersTimeout, requestTimeout, maxRequestsPerSocket, maxConnections]).toEqual([
      15_000, 30_000, 10_000, 2000,
    ]);
  });
});
