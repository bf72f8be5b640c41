import http from 'node:http';
import { connect } from 'node:net';
import { once } from 'node:events';
import { CHANNEL_KINDS } from '../../tools/broker/channel.js';
import { capture, without } from '../support/broker-recordings.js';
import { event, send } from '../support/broker-requests.js';
import { eventually } from '../support/cabs.js';
import { laptopBroker } from '../support/laptop-broker.js';

/* What the HTTP server of the broker does with requests that a client of Node can't send. */

const { subscriber, start } = laptopBroker();

/** Sends bytes to the broker. @returns its final answer */
async function raw(url: string, request: string): Promise<{ status: number; headers: object; body: string }> {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  socket.write(request, 'latin1');
  let text = '';
  socket.on('data', (chunk: Buffer) => {
    text += chunk.toString('latin1');
    if (/^content-length: 0\r\n/im.test(text)) socket.destroy();
  });
  await once(socket, 'close');
  return parse(text);
}

function parse(text: string): { status: number; headers: object; body: string } {
  const [head = '', body = ''] = text.replace(/^HTTP\/1\.1 100 Continue\r\n\r\n/, '').split('\r\n\r\n');
  const [statusLine = '', ...lines] = head.split('\r\n');
  const headers = lines.map((line) => {
    const at = line.indexOf(':');
    return [line.slice(0, at).toLowerCase(), line.slice(at + 1).trim()];
  });
  return { status: Number(statusLine.split(' ')[1]), headers: without(Object.fromEntries(headers)), body };
}

/** Too slow for this suite; laptop-broker.slow.spec.ts has it. */
const SLOW = 'raw: body shorter than content-length (read timeout)';

test('requests of raw bytes are answered as recorded from Knative 1.18.4', async () => {
  const url = await start();
  const cases = capture<{ name: string; request: string; response: string }[]>('1.18.4', 'ingress-raw');
  expect(cases).toHaveLength(9);
  const answers = cases
    .filter(({ name }) => name !== SLOW)
    .map(async ({ name, request, response }) => {
      expect({ name, ...(await raw(url, request)) }).toEqual({ name, ...parse(response) });
    });
  await Promise.all(answers);
});

const HEADERS = event()
  .map(([name, value]) => `${name}: ${value}\r\n`)
  .join('');
const CHUNKED = '7\r\n{"a":1}\r\n0\r\n\r\n';
const post = (headers: string, body: string, version = '1.1') =>
  `POST /default/demo HTTP/${version}\r\n${HEADERS}${headers}\r\n${body}`;

test.each([
  ['two Host headers', post('Host: localhost\r\nHost: b\r\nContent-Length: 7\r\n', '{"a":1}'), 400],
  ['two equal Host headers', post('Host: localhost\r\nhost: a\r\nContent-Length: 7\r\n', '{"a":1}'), 400],
  ['two Host headers in HTTP/1.0', post('Host: localhost\r\nHost: b\r\nContent-Length: 7\r\n', '{"a":1}', '1.0'), 400],
  ['a Host with a slash', post('Host: a/b\r\nContent-Length: 7\r\n', '{"a":1}'), 400],
  ['Transfer-Encoding: gzip, chunked', post('Host: localhost\r\nTransfer-Encoding: gzip, chunked\r\n', CHUNKED), 501],
  ['chunked, chunked', post('Host: localhost\r\nTransfer-Encoding: chunked, chunked\r\n', CHUNKED), 501],
  [
    'two Transfer-Encodings',
    post('Host: localhost\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n', CHUNKED),
    501,
  ],
  ['Transfer-Encoding: gzip', post('Host: localhost\r\nTransfer-Encoding: gzip\r\n', CHUNKED), 501],
  ['Transfer-Encoding: identity', post('Host: localhost\r\nTransfer-Encoding: identity\r\n', ''), 501],
  ['Transfer-Encoding in HTTP/1.0', post('Transfer-Encoding: chunked\r\n', CHUNKED, '1.0'), 501],
  [
    'a length and an encoding',
    post('Host: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 7\r\n', CHUNKED),
    400,
  ],
  ['two lengths', post('Host: localhost\r\nContent-Length: 7\r\nContent-Length: 7\r\n', '{"a":1}'), 400],
])('%s: refused', async (_name, request, status) => {
  const url = await start();
  expect((await raw(url, request)).status).toBe(status);
  expect(subscriber.received).toEqual([]);
});

test('Transfer-Encoding: Chunked is accepted', async () => {
  const url = await start();
  expect((await raw(url, post('Host: localhost\r\nTransfer-Encoding: Chunked\r\n', CHUNKED))).status).toBe(202);
  const [received] = await subscriber.expect('/sub', 1);
  expect(received!.body.toString()).toBe('{"a":1}');
});

test.each(CHANNEL_KINDS)('%s: a body with invalid chunks is unreadable', async (channel) => {
  const url = await start(undefined, { channel });
  const { status, headers, body } = await raw(
    url,
    post('Host: localhost\r\nTransfer-Encoding: chunked\r\n', 'x\r\n{"a":1}'),
  );
  expect({ status, headers, body }).toEqual({
    status: channel === 'synchronous' ? 500 : 400,
    headers: { allow: 'POST, OPTIONS' },
    body: '',
  });
  expect(subscriber.received).toEqual([]);
});

test('a structured event is refused when it is nested deeper than 10,000 levels, as in Go', async () => {
  const url = await start();
  const post = async (levels: number) => {
    const data = `${'['.repeat(levels - 1)}"\\"]"${']'.repeat(levels - 1)}`;
    const body = Buffer.from(`{"specversion":"1.0","id":"1","source":"/a","type":"t","data":${data}}`);
    return (await send(url, '/default/demo', { headers: [['content-type', 'application/cloudevents+json']], body }))
      .status;
  };
  expect([await post(10_000), await post(10_001), await post(5_000_000)]).toEqual([202, 400, 400]);
});

test('any page of the dead letters is answered', async () => {
  const url = await start();
  for (const page of [1, 100]) {
    const reply = await fetch(`${url}/mesh/dead-letters?page=${page}&size=100`);
    expect([reply.status, await reply.json()]).toEqual([200, { items: [], page, size: 100, total: 0 }]);
  }
});

const ID = '01932f3c-0000-7000-8000-000000000000';

test.each([
  ['GET', '?page=0', 'page'],
  ['GET', '?page=99999999999999999999', 'page'],
  ['GET', '?page=1e308', 'page'],
  ['GET', '?page=101', 'page'],
  ['GET', '?page=-1&by=cause', 'page'],
  ['GET', '?page=1&page=2', 'page'],
  ['GET', '?size=101', 'size'],
  ['GET', '?size=', 'size'],
  ['GET', '?by=zzz', 'by'],
  ['GET', `?consumer=${'x'.repeat(101)}`, 'consumer'],
  ['GET', '?cause=a%00b', 'cause'],
  ['GET', '/1', 'id'],
  ['DELETE', '/replay-', 'id'],
  ['POST', '/replay?force=maybe', 'force'],
  ['POST', '/replay?consumer=a&consumer=b', 'consumer'],
  ['POST', `/${ID}/replay?force=`, 'force'],
  // It would replay all.
  ['POST', '/replay/replay', 'id'],
])('%s /mesh/dead-letters%s is refused, as by the application', async (method, path, field) => {
  const reply = await fetch(`${await start()}/mesh/dead-letters${path}`, { method });
  expect(reply.status).toBe(400);
  const { errors, detail } = (await reply.json()) as { errors: { field: string }[]; detail: string };
  expect(errors).toEqual([{ field, detail: expect.any(String) }]);
  expect(detail.startsWith(`${field}: `)).toBe(true);
});

test.each([
  ['GET', ''],
  ['DELETE', ''],
  ['POST', '/replay?force=true'],
])('%s of an unknown dead letter is answered with 404, path %j', async (method, path) => {
  const reply = await fetch(`${await start()}/mesh/dead-letters/${ID}${path}`, { method });
  expect([reply.status, await reply.json()]).toEqual([404, { detail: `There is no dead letter ${ID}` }]);
});

test.each([
  ['POST', '/mesh/dead-letters/replay', { origin: 'https://evil.example' }],
  ['POST', '/mesh/dead-letters/replay', { 'sec-fetch-site': 'cross-site' }],
  ['DELETE', `/mesh/dead-letters/${ID}`, { origin: 'null' }],
  ['GET', '/mesh/outbox', { host: 'evil.example' }],
  ['POST', '/default/demo', { origin: 'https://evil.example' }],
])('%s %s of a page of another site is refused: %j', async (method, path, headers) => {
  const { hostname, port } = new URL(await start());
  const request = http.request({ hostname, port, method, path, headers }).end();
  const [response] = (await once(request, 'response')) as [http.IncomingMessage];
  response.resume();
  expect([response.statusCode, response.headers['content-type']]).toEqual([403, 'application/problem+json']);
});

test('the bodies of all requests share a budget, and a publisher beyond it is told to try again', async () => {
  const url = await start();
  // Each body lacks its end, so the broker holds it.
  const head = `POST /default/demo HTTP/1.1\r\nHost: localhost\r\n${HEADERS}Content-Length: 15000001\r\n\r\n`;
  const body = Buffer.alloc(15_000_000, ' ');
  const answers: string[] = [];
  const sockets = Array.from({ length: 12 }, () => {
    const socket = connect(Number(new URL(url).port), '127.0.0.1');
    socket.on('error', () => undefined);
    socket.once('data', (chunk: Buffer) => answers.push(chunk.toString('latin1', 0, 12)));
    socket.write(head);
    socket.write(body);
    return socket;
  });
  await eventually(
    async () => answers.length,
    (it) => it >= 4,
    9000,
  );
  expect(new Set(answers)).toEqual(new Set(['HTTP/1.1 503']));
  for (const socket of sockets) socket.destroy();
  await eventually(
    async () => (await raw(url, post('Host: localhost\r\nContent-Length: 7\r\n', '{"a":1}'))).status,
    (it) => it === 202,
  );
});
