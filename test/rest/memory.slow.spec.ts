import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';
import { DATABASES } from '../support/databases.js';
import { memoryOf, startServer, type LoggingServer } from '../support/server.js';

/* A process with the heap of a pod (docs/cluster.md), and bodies that take up much more memory when they are parsed. */

const MB = 1024 * 1024;
const parts = (bytes: number) => `[${'{},'.repeat((bytes - 4) / 3)}{}]`;

const CHUNKED =
  'POST /clients HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n';
const GETS = `GET /mesh/nothing/${'x'.repeat(15_000)} HTTP/1.1\r\nHost: x\r\n\r\n`.repeat(40);
const HEADERS = Array.from({ length: 2500 }, (_, n) => `${n.toString(36).padStart(3, 'A')}:\r\n`).join('');

describe('Memory under hostile bodies', () => {
  let server: LoggingServer;
  let memory: Awaited<ReturnType<typeof memoryOf>>;
  const sockets: Socket[] = [];

  beforeEach(async () => {
    const NODE_OPTIONS = '--inspect-port=0 --max-old-space-size=384';
    const DATABASE_URL = await DATABASES[0]!.fresh();
    server = await startServer({ DATABASE_URL, LOG_LEVEL: 'warn', NODE_OPTIONS, MESH_RECEIVE: 'true' });
    memory = await memoryOf(server);
  });
  afterEach(async () => {
    memory.close();
    for (const socket of sockets.splice(0)) socket.destroy();
    await server.end('SIGTERM');
  });

  /** Sends a request on a connection that stays open. @returns the status */
  const send = async (path: string, body: string, ...headers: string[]) => {
    const socket = connect(Number(new URL(server.url).port), '127.0.0.1').on('error', () => undefined);
    sockets.push(socket);
    const lines = [`POST ${path} HTTP/1.1`, 'Host: localhost', `Content-Length: ${body.length}`, ...headers, '', body];
    socket.write(lines.join('\r\n'));
    const [answer] = (await once(socket, 'data')) as [Buffer];
    return Number(answer.toString('latin1', 9, 12));
  };
  const all = async (count: number, sendOne: () => Promise<number>) =>
    new Set(await Promise.all(Array.from({ length: count }, sendOne)));
  const heldMb = async () => {
    await wait(200);
    const { heapUsed, external } = await memory.held();
    return (heapUsed + external) / MB;
  };
  const JSON_TYPE = 'Content-Type: application/json';

  it('idle connections keep nothing of their last requests', async () => {
    const before = await heldMb();
    const body = `{"name":${parts(12_000)}}`;
    for (let n = 0; n < 6; n++) expect(await all(100, () => send('/clients', body, JSON_TYPE))).toEqual(new Set([400]));
    expect((await heldMb()) - before).toBeLessThan(30);
  });

  it('a thousand bodies at once are answered, by a process that goes on', async () => {
    const body = `{"name":${parts(96_000)}}`;
    const statuses = await all(1000, () => send('/clients', body, JSON_TYPE));
    expect([...statuses].filter((it) => it !== 400 && it !== 503)).toEqual([]);
    expect(await heldMb()).toBeLessThan(200);
    expect((await fetch(`${server.url}/health/ready`)).status).toBe(200);
  });

  it.each(['clients', 'no-such-module'])(
    '64 large events for %s at once are answered, by a process that goes on',
    async (consumer) => {
      const event = ['ce-specversion: 1.0', 'ce-type: unknown', 'ce-source: /attack', JSON_TYPE];
      // As many parts as an event may have.
      const body = `{"x":${parts(150_000)},"y":"${'y'.repeat(800_000)}"}`;
      let id = 0;
      const statuses = await all(64, () => send(`/mesh/${consumer}`, body, ...event, `ce-id: ${id++}`));
      expect([...statuses].filter((it) => ![204, 422, 503].includes(it))).toEqual([]);
      expect((await fetch(`${server.url}/health/ready`)).status).toBe(200);
      expect(await heldMb()).toBeLessThan(200);
    },
  );

  it.each([
    ['bodies that come byte by byte', 60, `${CHUNKED}${'1\r\nx\r\n'.repeat(60_000)}`],
    ['bodies behind answers that nothing reads', 60, `${GETS}${CHUNKED}${'1\r\nx\r\n'.repeat(60_000)}`],
    ['headers without an end', 1000, `GET / HTTP/1.1\r\nHost: x\r\n${'ab:\r\n'.repeat(8000)}`],
    ['thousands of headers', 1000, `POST /clients HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n${HEADERS}\r\n`],
    [
      'thousands of headers behind answers that nothing reads',
      60,
      `${GETS}${`GET / HTTP/1.1\r\nHost: x\r\n${HEADERS}\r\n`.repeat(60)}`,
    ],
  ])('%s take up little, in a process that goes on', async (_, count, text) => {
    const sending = Array.from({ length: count }, async () => {
      const socket = connect(Number(new URL(server.url).port), '127.0.0.1').on('error', () => undefined);
      sockets.push(socket);
      await once(socket, 'connect');
      socket.pause().write(text);
    });
    await Promise.all(sending);
    await wait(3000);
    expect((await fetch(`${server.url}/health/ready`)).status).toBe(200);
    expect(await heldMb()).toBeLessThan(250);
  });

  it('bursts of pipelined requests are dropped, by a process that goes on', async () => {
    const burst = 'GET / HTTP/1.1\r\nHost:x\r\n\r\n'.repeat(2500);
    const ends = Array.from({ length: 300 }, async () => {
      const socket = connect(Number(new URL(server.url).port), '127.0.0.1').on('error', () => undefined);
      sockets.push(socket);
      await once(socket, 'connect');
      socket.write(burst);
      await Promise.race([once(socket, 'close'), wait(3000)]);
    });
    await Promise.all(ends);
    expect((await fetch(`${server.url}/health/ready`)).status).toBe(200);
    expect(await heldMb()).toBeLessThan(250);
  });

  it('idle connections of one client do not keep others out', async () => {
    const open = async () => {
      const socket = connect(Number(new URL(server.url).port), '127.0.0.1').on('error', () => undefined);
      sockets.push(socket);
      await once(socket, 'connect');
      socket.write('GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n');
      await Promise.race([once(socket, 'data'), once(socket, 'close')]);
    };
    for (let n = 0; n < 2100; n += 100) await Promise.all(Array.from({ length: 100 }, open));
    expect((await fetch(`${server.url}/health/live`)).status).toBe(200);
  });
});
