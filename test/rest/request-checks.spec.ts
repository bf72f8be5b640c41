import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { connect, type AddressInfo } from 'node:net';
import { otherSiteProblem } from '../../src/infrastructure/http/request-checks.js';
import { startCabs, type Cabs } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';

const request = (method: string, headers: Record<string, string>) =>
  ({ method, headers }) as unknown as IncomingMessage;

describe('Requests that a page of another site sends', () => {
  it.each<[boolean, string, Record<string, string>]>([
    [true, 'POST', {}],
    [true, 'POST', { 'sec-fetch-site': 'same-origin' }],
    [true, 'POST', { 'sec-fetch-site': 'none' }],
    [true, 'POST', { 'sec-fetch-site': 'same-site', origin: 'http://localhost:5173' }],
    [true, 'GET', { 'sec-fetch-site': 'cross-site' }],
    [true, 'POST', { origin: 'http://localhost:3000' }],
    [true, 'POST', { origin: 'https://cabs.example', 'x-forwarded-host': 'cabs.example' }],
    [false, 'POST', { 'sec-fetch-site': 'cross-site' }],
    [false, 'POST', { 'sec-fetch-site': 'Cross-Site' }],
    [false, 'DELETE', { 'sec-fetch-site': 'cross-site', origin: 'http://localhost:3000' }],
    [false, 'POST', { origin: 'http://evil.example' }],
    [false, 'POST', { origin: 'null' }],
    [false, 'PUT', { origin: 'http://localhost:3001' }],
  ])('may: %s, %s %j', (may, method, headers) => {
    const problem = otherSiteProblem(request(method, { host: 'localhost:3000', ...headers }), false);
    expect(problem?.message).toBe(may ? undefined : 'Requests of other sites are refused');
  });

  it.each([
    'evil.example',
    'localhost.evil.example',
    'evil.example:3000',
    '10.0.0.1',
    '127.0.0.1.evil.example',
    '127.0.0.999',
    '[::2]',
  ])('are refused in development by the name %s, which leads here', (host) => {
    expect(otherSiteProblem(request('GET', { host }), true)?.message).toMatch('localhost');
    expect(otherSiteProblem(request('GET', { host }), false)).toBeUndefined();
  });

  it.each([
    'localhost',
    'localhost:3000',
    'cabs.localhost:3000',
    '127.0.0.1:1',
    '127.9.9.9',
    '[::1]:3000',
    'LOCALHOST',
  ])('are taken in development by the name %s', (host) =>
    expect(otherSiteProblem(request('GET', { host }), true)).toBeUndefined(),
  );
});

describe('Requests that Node accepts, although they are not HTTP/1.1', () => {
  let cabs: Cabs;
  let port: number;

  beforeAll(async () => {
    cabs = await startCabs(await DATABASES[0]!.fresh(), { MESH_RECEIVE: 'true' });
    await cabs.app.listen(0, '127.0.0.1');
    port = (cabs.app.getHttpServer().address() as AddressInfo).port;
  });
  afterAll(() => cabs.close());

  const exchange = async (...lines: string[]) => {
    const socket = connect(port, '127.0.0.1').on('error', () => undefined);
    let answer = '';
    socket.setEncoding('utf8').on('data', (it: string) => (answer += it));
    socket.write(lines.join('\r\n'));
    await once(socket, 'close');
    return answer;
  };
  const JSON_TYPE = 'Content-Type: application/json';
  const CHUNKED = ['c', '{"name":"a"}', '0', '', ''];

  it.each<[string, ...string[]]>([
    ['two Host headers', 'GET /clients/1 HTTP/1.1', 'Host: localhost', 'Host: localhost', '', ''],
    ['no Host header', 'GET /clients/1 HTTP/1.1', '', ''],
    ['a Host that is none', 'GET /clients/1 HTTP/1.1', 'Host: local host', '', ''],
    [
      'two Host headers for the mesh',
      'POST /mesh/rides HTTP/1.1',
      'Host: localhost',
      'Host: b',
      'Content-Length: 0',
      '',
      '',
    ],
    [
      'an encoding besides chunked',
      'POST /clients HTTP/1.1',
      'Host: localhost',
      JSON_TYPE,
      'Transfer-Encoding: gzip, chunked',
      '',
      ...CHUNKED,
    ],
    [
      'Transfer-Encoding in HTTP/1.0',
      'POST /clients HTTP/1.0',
      JSON_TYPE,
      'Transfer-Encoding: chunked',
      '',
      ...CHUNKED,
    ],
    [
      'a malformed chunk',
      'POST /clients HTTP/1.1',
      'Host: localhost',
      JSON_TYPE,
      'Transfer-Encoding: chunked',
      '',
      'zz',
      '{}',
      '0',
      '',
      '',
    ],
  ])('are answered 400, and their connection is closed: %s', async (_, ...lines) => {
    const answer = await exchange(...lines);
    expect(answer).toMatch(/^HTTP\/1\.1 400 [^]*Connection: close[^]*"status":400/i);
    expect(answer.match(/^HTTP\/1\.1 /gm)).toHaveLength(1);
  });

  it('more than 200 headers are refused: none is ignored', async () => {
    const json = JSON.stringify({ name: 'Eve', lastName: 'Many' });
    const create = (headers: number) =>
      exchange(
        'POST /clients HTTP/1.1',
        'Host: localhost',
        'Connection: close',
        JSON_TYPE,
        `Content-Length: ${json.length}`,
        ...Array.from({ length: headers - 5 }, () => 'a:'),
        'Idempotency-Key: behind-many',
        '',
        json,
      );
    const [first, second] = [await create(200), await create(200)];
    expect(first).toMatch(/^HTTP\/1\.1 201/);
    expect(second.split('\r\n\r\n')[1]).toBe(first.split('\r\n\r\n')[1]);
    for (const many of [201, 1100]) expect(await create(many)).toMatch(/^HTTP\/1\.1 431 [^]*at most 200 headers/);
  });
});
