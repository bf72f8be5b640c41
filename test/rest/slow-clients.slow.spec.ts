import { once } from 'node:events';
import { connect, type AddressInfo, type Socket } from 'node:net';
import { startCabs, type Cabs } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';
import { newClient } from '../support/rest.js';

describe('Bodies that are not finished', () => {
  let cabs: Cabs;

  beforeAll(async () => {
    cabs = await startCabs(await DATABASES[0]!.fresh(), { MESH_RECEIVE: 'true' });
    await cabs.app.listen(0, '127.0.0.1');
  });
  afterAll(() => cabs.close());

  const begun = async (path: string, bytes: number): Promise<Socket> => {
    const { port } = cabs.app.getHttpServer().address() as AddressInfo;
    const socket = connect(port, '127.0.0.1').on('error', () => undefined);
    await once(socket, 'connect');
    const head = `POST ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n`;
    socket.write(head + 'x'.repeat(bytes));
    return socket;
  };
  const answerOf = async (socket: Socket) => {
    const [data] = (await once(socket, 'data')) as [Buffer];
    return data.toString();
  };

  it.each(['/clients', '/mesh/drivers'])('end after 10 s: 408 (%s)', async (path) => {
    const began = performance.now();
    const socket = await begun(path, 10);
    const closed = once(socket, 'close');
    expect(await answerOf(socket)).toMatch(/^HTTP\/1\.1 408 [^]*Connection: close[^]*"status":408/i);
    await closed;
    expect(performance.now() - began).toBeGreaterThan(9900);
    expect(performance.now() - began).toBeLessThan(15_000);
  });

  it('share a budget: the oldest are refused, and other requests are served', async () => {
    const first = await begun('/clients', 99_999);
    const answer = answerOf(first);
    const others: Socket[] = [];
    for (let n = 0; n < 400; n++) others.push(await begun(n % 2 ? '/clients' : '/mesh/drivers', 99_999));
    expect(await answer).toMatch(/^HTTP\/1\.1 503 [^]*"status":503/);
    expect(await newClient(cabs)).toBeGreaterThan(0);
    for (const socket of [first, ...others]) socket.destroy();
  });
});
