import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import type { BrokerOptions } from '../../tools/broker/broker.js';
import { CHANNEL_KINDS } from '../../tools/broker/channel.js';
import { laptopBroker } from '../support/laptop-broker.js';
import { broker, event, manifests, settled, trigger } from '../support/broker-requests.js';

const { subscriber, start: startWith, startFor: startBrokerFor, answering, newDatabase, post } = laptopBroker();
/** Messages are kept by the asynchronous channel only; laptop-broker-synchronous.spec.ts is about the other one. */
const channel = 'asynchronous';
const start = (delivery?: object) => startWith(delivery, { channel });
const startFor = (resources: object[], options: Partial<BrokerOptions> = {}) =>
  startBrokerFor(resources, { channel, ...options });

describe('a message that has failed for good', () => {
  interface Parked {
    readonly id: string;
    readonly consumer: string;
  }
  const parked = async (url: string) =>
    (await (await fetch(`${url}/mesh/dead-letters`)).json()) as { items: Parked[]; total: number };

  test('is parked when its sink fails as well, and can be requeued to the sink', async () => {
    const url = await start({ retry: 1, deadLetterSink: { uri: `${subscriber.url}/dead` } });
    subscriber.script = () => ({ status: 500 });
    // The header holds bytes of UTF-8; the list of dead letters shows them as text.
    await post(url, { subject: Buffer.from('zażółć').toString('latin1') }, '"é"');
    await settled(url);
    const { items, total } = await parked(url);
    expect(total).toBe(1);
    expect(items[0]).toMatchObject({ consumer: 'default/one dead letters' });
    expect(await (await fetch(`${url}/mesh/dead-letters/${items[0]!.id}`)).json()).toMatchObject({
      event: { subject: 'zażółć', knativeerrorcode: '500' },
    });
    expect(subscriber.to('/sub')).toHaveLength(2);
    expect(subscriber.to('/dead')).toHaveLength(2);
    subscriber.script = () => ({});
    expect((await fetch(`${url}/mesh/dead-letters/${items[0]!.id}/replay`, { method: 'POST' })).status).toBe(202);
    const letters = await subscriber.expect('/dead', 3);
    expect(letters[2]!.body.toString()).toBe('"é"');
    await settled(url);
    expect((await parked(url)).total).toBe(0);
  });

  test('is parked when there is no sink, and can be requeued to the subscriber with all others', async () => {
    const url = await start();
    subscriber.script = () => ({ status: 422 });
    for (let n = 0; n < 3; n++) await post(url, { id: `id-${n}` });
    await settled(url);
    expect((await parked(url)).total).toBe(3);
    subscriber.script = () => ({});
    for (const [query, init] of [
      ['consumr=one', {}],
      ['dryRun=true', {}],
      ['', { body: '{}' }],
    ] as const) {
      const refused = await fetch(`${url}/mesh/dead-letters/replay?${query}`, { method: 'POST', ...init });
      expect(refused.status).toBe(400);
    }
    expect((await parked(url)).total).toBe(3);
    expect(await (await fetch(`${url}/mesh/dead-letters/replay`, { method: 'POST' })).json()).toEqual({ replayed: 3 });
    await subscriber.expect('/sub', 6);
    await settled(url);
    expect((await parked(url)).total).toBe(0);
  });
});

describe('replies', () => {
  const reply = { status: 200, headers: { 'ce-id': 'r', 'ce-source': '/r', 'ce-type': 'r', 'ce-specversion': '1.0' } };

  test('become new events of the broker', async () => {
    const { url } = await startFor([
      broker('demo'),
      trigger('one', {
        broker: 'demo',
        subscriber: { uri: `${subscriber.url}/sub` },
        filters: [{ exact: { type: 'com.example.a' } }],
      }),
      trigger('two', {
        broker: 'demo',
        subscriber: { uri: `${subscriber.url}/replies` },
        filters: [{ exact: { type: 'r' } }],
      }),
    ]);
    answering(reply);
    await post(url);
    const [replied] = await subscriber.expect('/replies', 1);
    expect(replied!.headers).toMatchObject({ 'ce-id': 'r', 'ce-source': '/r' });
  });

  test('have a hop limit one lower than the event they reply to, so that a loop ends in the dead letter sink', async () => {
    const url = await start({ deadLetterSink: { uri: `${subscriber.url}/dead` } });
    answering(reply);
    await post(url, { knativebrokerttl: '10' });
    const [letter] = await subscriber.expect('/dead', 1);
    expect(subscriber.to('/sub')).toHaveLength(9);
    expect(letter!.headers).toMatchObject({
      'ce-knativebrokerttl': '1',
      'ce-knativeerrordest': `${url}/default/demo`,
      'ce-knativeerrorcode': '400',
      'ce-knativeerrordata': '',
    });
  });
});

test('each step of a message is printed, with the end of its id', async () => {
  const lines: string[] = [];
  const resources = [
    broker('demo', { retry: 1, deadLetterSink: { ref: { kind: 'Service', name: 'nowhere' } } }),
    trigger('one', { broker: 'demo', subscriber: { uri: `${subscriber.url}/sub` } }),
  ];
  const print = (line: string) => lines.push(line.replace(/^\S+ +/, ''));
  const { url, description } = await startFor(resources, { print });
  expect(description.join('\n')).toMatch(/UNRESOLVED \(--service nowhere=URL\)/);
  answering({}, { status: 500, body: 'oh' });
  await post(url, { id: '01a20c4c-d9b2-744b-b5e5-d8813ad29d0d' });
  await settled(url);
  await post(url, { id: '2', subject: 'it' });
  await settled(url);
  await post(url, { source: '' });
  expect(lines).toEqual([
    'accepted   com.example.a  …3ad29d0d  for default/one',
    'delivered  com.example.a  …3ad29d0d  to default/one: 200',
    'accepted   com.example.a  it  2  for default/one',
    'failed     com.example.a  it  2  default/one: retry 1 in 0 ms (500 oh)',
    'dead       com.example.a  it  2  default/one: gave up (500 oh)',
    'failed     com.example.a  it  2  default/one dead letters: retry 1 in 0 ms (its address is unknown: pass --service NAME=URL)',
    'parked     com.example.a  it  2  default/one dead letters: gave up as well, parked here (its address is unknown: pass --service NAME=URL)',
    'refused    400: The source is no URI reference',
  ]);
});

test('the synchronous channel prints an event before its deliveries, and again when it is accepted', async () => {
  const lines: string[] = [];
  const print = (line: string) => lines.push(line.replace(/^\S+ +/, ''));
  const url = await startWith({ retry: 1, deadLetterSink: { uri: `${subscriber.url}/dead` } }, { print });
  answering({ status: 500, body: 'oh' });
  await post(url, { id: '1' });
  subscriber.script = () => ({ status: 422 });
  await post(url, { id: '2' });
  expect(lines).toEqual([
    'received   com.example.a  1  for default/one',
    'failed     com.example.a  1  default/one: retry 1 in 0 ms (500 oh)',
    'dead       com.example.a  1  default/one: gave up (500 oh)',
    'delivered  com.example.a  1  kept by the dead letter sink of default/one: 200',
    'accepted   com.example.a  1  for default/one',
    'received   com.example.a  2  for default/one',
    'dead       com.example.a  2  default/one: gave up (422)',
    'dead       com.example.a  2  default/one dead letters: gave up as well (422)',
    'refused    500: 422',
  ]);
});

test.each(CHANNEL_KINDS)('%s: a request whose body does not arrive is refused after 10 s', async (kind) => {
  const url = await startWith(undefined, { channel: kind });
  const began = Date.now();
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  const lines = event().map(([name, value]) => `${name}: ${value}\r\n`);
  socket.write(`POST /default/demo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n${lines.join('')}\r\nabc`);
  const [answer] = (await once(socket, 'data')) as [Buffer];
  socket.destroy();
  expect(answer.toString()).toMatch(kind === 'synchronous' ? /^HTTP\/1\.1 500 / : /^HTTP\/1\.1 400 /);
  expect(Date.now() - began).toBeGreaterThan(9900);
});

describe('the process', () => {
  async function spawned(...options: string[]): Promise<{ child: ChildProcess; url: string; output: () => string }> {
    const child = spawn(process.execPath, ['--import', 'tsx', 'tools/meshy.ts', 'broker', ...options], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let output = '';
    const url = await new Promise<string>((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`The broker does not start:\n${output}`)), 60_000);
      const read = (chunk: Buffer) => {
        output += chunk.toString();
        const [, found] = /Broker default\/demo: (http:\/\/localhost:\d+)/.exec(output) ?? [];
        if (!found) return;
        clearTimeout(late);
        resolve(found);
      };
      child.stdout.on('data', read);
      child.stderr.on('data', read);
      child.once('exit', () => reject(new Error(`The broker ended:\n${output}`)));
    });
    return { child, url, output: () => output };
  }

  async function ended(child: ChildProcess, signal: NodeJS.Signals): Promise<number | null> {
    const gone = once(child, 'exit');
    child.kill(signal);
    const [code] = (await gone) as [number | null];
    return code;
  }

  test('killed after its answers 202, delivers all messages after a restart, and exits with 0 on SIGTERM', async () => {
    const folder = manifests(
      broker('demo', { retry: 100, backoffPolicy: 'linear', backoffDelay: 'PT0.1S' }),
      trigger('one', { broker: 'demo', subscriber: { ref: { kind: 'Service', name: 'shop' }, uri: '/sub' } }),
    );
    const options = [
      '--channel',
      'asynchronous',
      '--manifests',
      folder,
      '--database',
      newDatabase(),
      '--port',
      '0',
      '--service',
      `shop=${subscriber.url}`,
    ];
    const first = await spawned(...options);
    // No message is handled before the crash.
    subscriber.script = () => ({ status: 503 });
    const ids = Array.from({ length: 200 }, (_, n) => `id-${n}`);
    const answers = await Promise.all(ids.map((id) => post(first.url, { id })));
    await ended(first.child, 'SIGKILL');
    expect(answers.every(({ status }) => status === 202)).toBe(true);
    subscriber.received.length = 0;
    subscriber.script = () => undefined;
    const second = await spawned(...options);
    await settled(second.url);
    // Delivery is at least once: requests of the killed process may be read only now.
    const received = new Set(subscriber.received.map((it) => it.headers['ce-id']));
    expect([...received].sort()).toEqual([...ids].sort());
    expect(second.output()).toMatch(/a development tool\. Production is Knative/);
    expect(second.output()).toMatch(/200 messages of an earlier run/);
    expect(await ended(second.child, 'SIGTERM')).toBe(0);
  }, 180_000);

  test('killed while its synchronous channel delivers, gives no answer, and keeps nothing', async () => {
    const folder = manifests(
      broker('demo', { retry: 100, backoffPolicy: 'linear', backoffDelay: 'PT0.1S' }),
      trigger('one', { broker: 'demo', subscriber: { ref: { kind: 'Service', name: 'shop' }, uri: '/sub' } }),
    );
    const service = ['--service', `shop=${subscriber.url}`];
    const options = ['--manifests', folder, '--database', newDatabase(), '--port', '0', ...service];
    const first = await spawned(...options);
    expect(first.output()).toContain('Channel: synchronous');
    subscriber.script = ({ headers }) => ({ status: headers['ce-id'] === 'bad' ? 503 : 200 });
    expect((await post(first.url, { id: 'good' })).status).toBe(202);
    const unanswered = post(first.url, { id: 'bad' }).then(
      () => 'answered',
      () => 'no answer',
    );
    await subscriber.expect('/sub', 2);
    await ended(first.child, 'SIGKILL');
    expect(await unanswered).toBe('no answer');
    subscriber.received.length = 0;
    subscriber.script = () => undefined;
    const second = await spawned(...options);
    await settled(second.url);
    expect(subscriber.received).toEqual([]);
    // The publisher posts the event again.
    expect((await post(second.url, { id: 'bad' })).status).toBe(202);
    expect(await ended(second.child, 'SIGTERM')).toBe(0);
  }, 180_000);
});
