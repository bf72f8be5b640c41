import { once } from 'node:events';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { CloudEventsClient } from '../../src/infrastructure/broker/cloudevents-client.js';
import { calculateFee } from '../support/database-contents.js';

const event = calculateFee('a', 'b');
const ENDLESS = 'Transfer-Encoding: chunked\r\n\r\n';

let server: Server | undefined;
let client: CloudEventsClient;

/** Posts an event to a server that writes these bytes and then calls `then`. */
async function post(bytes: string, then: (socket: Socket) => void = () => undefined) {
  const sockets: Socket[] = [];
  server = createServer((socket) => {
    sockets.push(socket);
    socket.on('error', () => undefined);
    socket.once('data', () => socket.write(bytes, () => then(socket)));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  client = new CloudEventsClient({ timeoutMs: 20_000 });
  const { port } = server.address() as AddressInfo;
  return { response: client.post(`http://127.0.0.1:${port}/`, event), sockets };
}

afterEach(async () => {
  await client.close();
  server?.close();
});

/** Sends chunks until the client closes the connection. */
function sendEndlessly(socket: Socket): void {
  const chunk = `4000\r\n${'x'.repeat(0x4000)}\r\n`;
  const more = setInterval(() => socket.write(chunk), 1);
  socket.on('close', () => clearInterval(more));
}

describe('The CloudEvents client', () => {
  it('resolves a success before its body ends, and closes the connection of an endless body', async () => {
    const { response, sockets } = await post(`HTTP/1.1 202 Accepted\r\n${ENDLESS}`, sendEndlessly);
    expect(await response).toEqual({ status: 202, body: '' });
    await once(sockets[0]!, 'close');
  });

  it('keeps the first 1,000 characters of an error', async () => {
    const text = 'ż'.repeat(3000);
    const length = Buffer.byteLength(text);
    const { response } = await post(`HTTP/1.1 500 Oh\r\nContent-Length: ${length}\r\n\r\n${text}`);
    expect(await response).toEqual({ status: 500, body: text.slice(0, 1000) });
  });

  it('closes the connection of an endless error, and keeps its first 1,000 characters', async () => {
    const { response, sockets } = await post(`HTTP/1.1 503 Oh\r\nRetry-After: 2\r\n${ENDLESS}`, sendEndlessly);
    expect(await response).toEqual({ status: 503, body: 'x'.repeat(1000), retryAfterMs: 2000 });
    if (!sockets[0]!.destroyed) await once(sockets[0]!, 'close');
  });

  it('resolves with the status when the connection closes within the body', async () => {
    const { response } = await post('HTTP/1.1 400 Bad\r\nContent-Length: 100\r\n\r\nno', (it) => it.destroySoon());
    expect(await response).toEqual({ status: 400, body: 'no' });
  });

  it('waits for the final response after 103 Early Hints', async () => {
    const hint = 'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n';
    const { response } = await post(`${hint}HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n`);
    expect(await response).toEqual({ status: 202, body: '' });
  });

  it('rejects when the connection closes without a response', async () => {
    const { response } = await post('HTTP/1.1', (it) => it.destroySoon());
    await expect(response).rejects.toThrow();
  });
});
