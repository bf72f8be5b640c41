import { setTimeout as wait } from 'node:timers/promises';
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { PICKUP, PLANNED } from '../../src/demo.js';
import { startCabs, type Cabs } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';
import { newClient, post, problemOf } from '../support/rest.js';

/** Writes pieces of an answer for ever, until the client hangs up. */
async function drip(response: ServerResponse, piece: Buffer, pauseMs: number): Promise<void> {
  while (!response.destroyed) {
    response.write(piece);
    await wait(pauseMs);
  }
}

describe.each(DATABASES)('Remote queries on $kind', ({ fresh }) => {
  let cabs: Cabs;
  let remote: Server;
  let answer: (response: ServerResponse, url: string) => unknown;
  const requests: { url: string; body: string; correlationId: string | undefined }[] = [];

  beforeAll(async () => {
    remote = createServer((request, response) => {
      let body = '';
      request.on('data', (chunk: Buffer) => (body += chunk.toString()));
      request.on('end', () => {
        const correlationId = request.headers['x-correlation-id'] as string | undefined;
        requests.push({ url: request.url!, body, correlationId });
        answer(response, request.url!);
      });
    });
    await new Promise<void>((resolve) => remote.listen(0, '127.0.0.1', resolve));
    const url = `http://127.0.0.1:${(remote.address() as AddressInfo).port}`;
    cabs = await startCabs(await fresh(), {
      MESH_TRANSPORT: 'knative',
      K_SINK: 'http://127.0.0.1:9',
      MODULES: 'rides,clients',
      USVC_GEOLOCATION: url,
    });
  });
  beforeEach(() => {
    requests.length = 0;
  });
  afterAll(async () => {
    await cabs.close();
    remote.close();
    remote.closeAllConnections();
  });

  const requestTransit = async () => {
    const clientId = await newClient(cabs);
    return cabs.http
      .post('/transits')
      .set('X-Correlation-Id', 'a-request')
      .send({ clientId, from: PICKUP, to: PLANNED });
  };

  it('are sent over HTTP with the correlation id of the request, and answered as in process', async () => {
    answer = (response) => response.end(JSON.stringify({ result: { 'distance-metres': 1000, unknown: 'field' } }));
    const reply = await requestTransit();
    expect(reply.status).toBe(201);
    expect(reply.body).toMatchObject({ distanceKm: 1 });
    expect(requests).toEqual([
      {
        url: '/mesh/queries/measure-route',
        correlationId: 'a-request',
        body: expect.stringContaining('"building-number"') as unknown,
      },
    ]);
  });

  it('are retried after an error', async () => {
    answer = (response) =>
      requests.length < 3
        ? response.writeHead(500).end()
        : response.end(JSON.stringify({ result: { 'distance-metres': 2000 } }));
    expect((await requestTransit()).body).toMatchObject({ distanceKm: 2 });
    expect(requests).toHaveLength(3);
  });

  it.each<[string, (response: ServerResponse) => unknown]>([
    ['an error', (response) => response.writeHead(500).end()],
    ['not JSON', (response) => response.end('<html>')],
    ['against the contract', (response) => response.end('{"result":{"distance-metres":"far"}}')],
    ['cut off', (response) => response.socket!.destroy()],
    ['missing', () => undefined],
    ['without end', (response) => void drip(response, Buffer.alloc(64 * 1024, ' '), 1)],
    ['slow without end', (response) => void drip(response, Buffer.from(' '), 300)],
  ])(
    'end in a 503 problem when the answer is %s, and leave nothing behind',
    async (_, failing) => {
      answer = failing;
      const { total } = (await cabs.http.get('/transits')).body as { total: number };
      const reply = await requestTransit();
      expect(problemOf(reply, 503).detail).toBe("geolocation doesn't answer now: try again later");
      expect(reply.headers['retry-after']).toBe('1');
      expect((await cabs.http.get('/transits')).body).toMatchObject({ total });
    },
    60_000,
  );

  it('end in a 503 that names the missing variable when the address of the module is unknown', async () => {
    answer = (response) => response.end(JSON.stringify({ result: { 'distance-metres': 1000 } }));
    const transit = (await requestTransit()).body as { id: string };
    await post(cabs, `/transits/${transit.id}/publish`);
    const reply = await cabs.http.post(`/transits/${transit.id}/accept`).send({ driverId: 1 });
    expect(problemOf(reply, 503).detail).toContain('USVC_DRIVERS');
  });

  it('leave the routes of remote modules to their own processes', async () => {
    answer = (response) => response.writeHead(500).end();
    await cabs.http.get('/drivers/1').expect(404);
    await cabs.http.post('/mesh/drivers').send({}).expect(400);
  });
});
