import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { PICKUP, PLANNED } from '../../src/demo.js';
import { startCabs, type Cabs } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';
import { newClient, post, problemOf } from '../support/rest.js';

/** A module elsewhere, as badly as it may answer. */
describe.each(DATABASES)('Queries of modules that live elsewhere, on $kind', ({ fresh }) => {
  let cabs: Cabs;
  let elsewhere: Server;
  let answer: (response: ServerResponse, url: string) => unknown;
  const asked: { url: string; body: string; correlationId: string | undefined }[] = [];

  beforeAll(async () => {
    elsewhere = createServer((request, response) => {
      let body = '';
      request.on('data', (chunk: Buffer) => (body += chunk.toString()));
      request.on('end', () => {
        const correlationId = request.headers['x-correlation-id'] as string | undefined;
        asked.push({ url: request.url!, body, correlationId });
        answer(response, request.url!);
      });
    });
    await new Promise<void>((resolve) => elsewhere.listen(0, '127.0.0.1', resolve));
    const url = `http://127.0.0.1:${(elsewhere.address() as AddressInfo).port}`;
    cabs = await startCabs(await fresh(), {
      MESH_TRANSPORT: 'knative',
      K_SINK: 'http://127.0.0.1:9',
      MODULES: 'rides,clients',
      USVC_GEOLOCATION: url,
    });
  });
  beforeEach(() => {
    asked.length = 0;
  });
  afterAll(async () => {
    await cabs.close();
    elsewhere.close();
    elsewhere.closeAllConnections();
  });

  const order = async () => {
    const clientId = await newClient(cabs);
    return cabs.http
      .post('/transits')
      .set('X-Correlation-Id', 'the-journey')
      .send({ clientId, from: PICKUP, to: PLANNED });
  };

  it('are asked over HTTP, on the same journey, and answered as in process', async () => {
    answer = (response) => response.end(JSON.stringify({ result: { 'distance-metres': 1000, unknown: 'field' } }));
    const reply = await order();
    expect(reply.status).toBe(201);
    expect(reply.body).toMatchObject({ distanceKm: 1 });
    expect(asked).toEqual([
      {
        url: '/mesh/queries/measure-route',
        correlationId: 'the-journey',
        body: expect.stringContaining('"building-number"') as unknown,
      },
    ]);
  });

  it('are asked again when that may help', async () => {
    answer = (response) =>
      asked.length < 3
        ? response.writeHead(500).end()
        : response.end(JSON.stringify({ result: { 'distance-metres': 2000 } }));
    expect((await order()).body).toMatchObject({ distanceKm: 2 });
    expect(asked).toHaveLength(3);
  });

  it.each<[string, (response: ServerResponse) => unknown]>([
    ['an error', (response) => response.writeHead(500).end()],
    ['nothing that is JSON', (response) => response.end('<html>')],
    ['something else than the contract says', (response) => response.end('{"result":{"distance-metres":"far"}}')],
    ['a cut', (response) => response.socket!.destroy()],
    ['silence', () => undefined],
  ])(
    'end in a 503 problem when the answer is %s, and leave nothing behind',
    async (_, badly) => {
      answer = badly;
      const reply = await order();
      expect(problemOf(reply, 503).detail).toBe("geolocation doesn't answer now: try again later");
      expect(reply.headers['retry-after']).toBe('1');
      expect((await cabs.http.get('/transits')).body).toMatchObject({ total: expect.any(Number) as unknown });
    },
    20_000,
  );

  it('end in a 503 that says what is missing where nobody has said where the module lives', async () => {
    answer = (response) => response.end(JSON.stringify({ result: { 'distance-metres': 1000 } }));
    const ride = (await order()).body as { id: string };
    await post(cabs, `/transits/${ride.id}/publish`);
    const reply = await cabs.http.post(`/transits/${ride.id}/accept`).send({ driverId: 1 });
    expect(problemOf(reply, 503).detail).toContain('USVC_DRIVERS');
  });

  it('are not needed for a ride to end: only what is kept here is asked', async () => {
    answer = (response) => response.writeHead(500).end();
    await cabs.http.get('/drivers/1').expect(404);
    await cabs.http.post('/mesh/drivers').send({}).expect(400);
  });
});
