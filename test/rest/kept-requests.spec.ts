import { once } from 'node:events';
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http';
import { connect, type AddressInfo, type Socket } from 'node:net';
import { Writable } from 'node:stream';
import { setTimeout as wait } from 'node:timers/promises';
import { configureServer } from '../../src/infrastructure/http/configure-server.js';
import { Connections } from '../../src/infrastructure/http/connections.js';
import { UnreadAnswers } from '../../src/infrastructure/http/unread-answers.js';
import { eventually } from '../support/cabs.js';

/** What Node keeps of requests, also of those that it doesn't show yet, or never. */
type Parsing = Socket & { parser?: { _headers: string[]; incoming?: IncomingMessage } };

describe('Requests that are not being handled', () => {
  let server: Server;
  let client: Socket;
  let requests: IncomingMessage[];
  let accepted: Parsing[];

  /** Sends the text to a server, on one connection that doesn't read. */
  const send = async (text: string, handle: RequestListener, configure = (_: Server) => {}) => {
    const connections = new Connections();
    requests = [];
    accepted = [];
    server = createServer((request, response) => {
      requests.push(request);
      connections.take(request.socket, response, () => handle(request, response));
    });
    configureServer(server, connections);
    configure(server);
    connections.watch(server);
    server.on('connection', (socket: Socket) => accepted.push(socket));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    client = connect((server.address() as AddressInfo).port, '127.0.0.1').on('error', () => undefined);
    await once(client, 'connect');
    client.pause().write(text);
    await wait(200);
  };
  afterEach(() => {
    client.destroy();
    server.closeAllConnections();
    server.close();
  });

  const GET = 'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n';
  const LONG = GET.replace('\r\n\r\n', `\r\n${`X: ${'x'.repeat(70)}\r\n`.repeat(150)}\r\n`);
  const CHUNKED = 'POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n';
  const PIECES = '1\r\nx\r\n'.repeat(5000);

  it('keep few of their headers until they have arrived completely', async () => {
    await send(`${GET.trimEnd()}\r\n${'ab:\r\n'.repeat(8000)}`, () => undefined);
    expect(accepted[0]!.parser!._headers.length).toBeLessThan(1000);
    expect(requests).toEqual([]);
  });

  it('keep few of their trailers', async () => {
    await send(`${CHUNKED}1\r\nx\r\n0\r\n${'ab:\r\n'.repeat(8000)}`, (request) => void request.resume());
    expect(accepted[0]!.parser!._headers.length).toBeLessThan(1000);
  });

  it('wait for the answers before theirs only with short headers', async () => {
    const responses: ServerResponse[] = [];
    await send(GET + GET + LONG + LONG, (_, response) => void responses.push(response));
    expect(requests.map(({ rawHeaders }) => rawHeaders.length)).toEqual([2, 2, 0]);
    expect(accepted[0]!.parser!.incoming?.rawHeaders ?? []).toEqual([]);
    responses[0]!.end('one');
    await eventually(
      async () => responses.length,
      (count) => count === 2,
    );
    responses[1]!.end('two');
    let text = '';
    client.on('data', (chunk: Buffer) => (text += chunk.toString())).resume();
    await once(client, 'close');
    expect(text.match(/HTTP\/1\.1 200 |Connection: close/g)).toEqual([
      'HTTP/1.1 200 ',
      'HTTP/1.1 200 ',
      'Connection: close',
    ]);
  });

  it('are dropped when the connection has had its last request', async () => {
    let dropped = 0;
    const limit = (it: Server) => {
      it.maxRequestsPerSocket = 2;
      it.on('dropRequest', () => dropped++);
    };
    await send(GET.repeat(500), () => undefined, limit);
    expect(requests).toHaveLength(2);
    expect(dropped).toBe(1);
  });

  it('keep nothing of their bodies when they are dropped', async () => {
    await send(`${GET}${CHUNKED}1\r\nx\r\n0\r\n\r\n${CHUNKED}${PIECES}`, () => undefined);
    expect(requests).toHaveLength(2);
    expect(accepted[0]!.parser!.incoming!.readableLength).toBe(0);
  });

  it('keep nothing of their bodies when they have many headers, and the client does not take the answer', async () => {
    const many = CHUNKED.replace('Transfer', `${'ab:\r\n'.repeat(250)}Transfer`);
    await send(many, (_, response) => response.writeHead(431).end(Buffer.alloc(8 * 1024 * 1024, 'a')));
    client.write(PIECES);
    await wait(100);
    expect(requests).toHaveLength(1);
    expect(requests[0]!.readableLength).toBe(0);
  });
});

describe('Unread answers', () => {
  it('count what their requests keep in memory', () => {
    const answers = new UnreadAnswers();
    const sockets = Array.from({ length: 10 }, () => {
      const socket = new Writable({ write: () => undefined }) as unknown as Socket;
      socket.write('an answer');
      answers.note(socket, 4 * 1024 * 1024);
      return socket;
    });
    expect(sockets.filter(({ destroyed }) => !destroyed)).toHaveLength(7);
    for (const socket of sockets) answers.forget(socket);
  });

  it('are kept of a client that reads slowly, while those of others are dropped', () => {
    const answers = new UnreadAnswers();
    const taking: (() => void)[] = [];
    const sockets = Array.from({ length: 12 }, (_, index) => {
      const socket = new Writable({
        write: (_chunk, _encoding, taken) => void (taking[index] = taken),
      }) as unknown as Socket;
      // The first client takes a piece now and then, the others nothing.
      for (let n = 0; n < 20; n++) socket.write('a piece');
      answers.note(socket, 4 * 1024 * 1024);
      taking[0]!();
      return socket;
    });
    expect(sockets.map(({ destroyed }) => !destroyed).slice(0, 6)).toEqual([true, false, false, false, false, false]);
    for (const socket of sockets) answers.forget(socket);
  });
});
