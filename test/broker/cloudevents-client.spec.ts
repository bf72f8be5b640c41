import { once } from 'node:events';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { CloudEventsClient } from '../../src/infrastructure/broker/cloudevents-client.js';
import { calculateFee } from '../support/database-contents.js';

const event = calculateFee('a', 'b');
const ENDLESS = 'Transfer-Encoding: chunked\r\n\r\n';

let server: Server | undefined;
let sink: CloudEventsClient;

/** Posts an event to somebody who answers with these bytes, and then does as `then` says. */
async function answered(bytes: string, then: (socket: Socket) => void = () => undefined) {
  const sockets: Socket[] = [];
  server = createServer((socket) => {
    sockets.push(socket);
    socket.on('error', () => undefined);
    socket.once('data', () => socket.write(bytes, () => then(socket)));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  sink = new CloudEventsClient({ timeoutMs: 2000 });
  const { port } = server.address() as AddressInfo;
  return { answer: sink.post(`http://127.0.0.1:${port}/`, event), sockets };
}

afterEach(async () => {
  await sink.close();
  server?.close();
});

/** Talks until nobody listens any more. */
function talkOn(socket: Socket): void {
  const chunk = `4000\r\n${'x'.repeat(0x4000)}\r\n`;
  const more = setInterval(() => socket.write(chunk), 1);
  socket.on('close', () => clearInterval(more));
}

describe('The sink', () => {
  it('takes a success for one before all of it was read, and hangs up on who talks on', async () => {
    const { answer, sockets } = await answered(`HTTP/1.1 202 Accepted\r\n${ENDLESS}`, talkOn);
    expect(await answer).toEqual({ status: 202, body: '' });
    await once(sockets[0]!, 'close');
  });

  it('keeps the beginning of an error', async () => {
    const text = 'ż'.repeat(3000);
    const length = Buffer.byteLength(text);
    const { answer } = await answered(`HTTP/1.1 500 Oh\r\nContent-Length: ${length}\r\n\r\n${text}`);
    expect(await answer).toEqual({ status: 500, body: text.slice(0, 1000) });
  });

  it('hangs up on an error that doesn’t end, and keeps its beginning', async () => {
    const { answer, sockets } = await answered(`HTTP/1.1 503 Oh\r\nRetry-After: 2\r\n${ENDLESS}`, talkOn);
    expect(await answer).toEqual({ status: 503, body: 'x'.repeat(1000), retryAfterMs: 2000 });
    if (!sockets[0]!.destroyed) await once(sockets[0]!, 'close');
  });

  it('takes a status for an answer when the connection is cut in the midst of the body', async () => {
    const { answer } = await answered('HTTP/1.1 400 Bad\r\nContent-Length: 100\r\n\r\nno', (it) => it.destroySoon());
    expect(await answer).toEqual({ status: 400, body: 'no' });
  });

  it('waits for the answer behind a hint', async () => {
    const hint = 'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n';
    const { answer } = await answered(`${hint}HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n`);
    expect(await answer).toEqual({ status: 202, body: '' });
  });

  it('says so when there is no answer', async () => {
    const { answer } = await answered('HTTP/1.1', (it) => it.destroySoon());
    await expect(answer).rejects.toThrow();
  });
});
