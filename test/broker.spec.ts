import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { startBroker, type Broker } from '../tools/broker/broker.js';
import { broker, event, manifests, Recorder, scratch, send, settled, trigger, type Reply } from './broker.js';

const folder = scratch();
const subscriber = new Recorder();
let running: Broker | undefined;

beforeAll(() => subscriber.start());
afterEach(async () => {
  await running?.stop(0);
  running = undefined;
  subscriber.received.length = 0;
  subscriber.script = () => undefined;
});
afterAll(async () => {
  await subscriber.stop();
  folder.remove();
});

const newDatabase = () => `sqlite:${folder.path}/${Math.random().toString(36).slice(2)}.db`;

/** A broker `default/demo` with one trigger to /sub. */
async function start(delivery?: object): Promise<string> {
  const spec = { broker: 'demo', subscriber: { uri: `${subscriber.url}/sub` } };
  const folder = manifests(broker('demo', delivery), trigger('one', spec));
  running = await startBroker({ manifests: folder, port: 0, database: newDatabase(), services: {} });
  return running.url;
}

const post = (url: string, attributes: Record<string, string> = {}, body = '{"a":1}') =>
  send(url, '/default/demo', { headers: event(attributes), body });

/** Answers with these, one after the other, and then with the last for ever. */
function answering(...replies: Reply[]): void {
  let n = 0;
  subscriber.script = ({ path }) => (path === '/sub' ? replies[Math.min(n++, replies.length - 1)] : {});
}

function gaps(path = '/sub'): number[] {
  const times = subscriber.to(path).map(({ at }) => at);
  return times.slice(1).map((at, index) => at - times[index]!);
}

/** Waits are kept at least, and not by much more; a busy machine is late. */
function expectGaps(wanted: number[]): void {
  const found = gaps();
  expect(found).toHaveLength(wanted.length);
  for (const [index, ms] of wanted.entries()) {
    expect(found[index]).toBeGreaterThanOrEqual(ms - 5);
    expect(found[index]).toBeLessThan(ms + 190);
  }
}

describe('retries', () => {
  const dead = () => ({ deadLetterSink: { uri: `${subscriber.url}/dead` } });

  test('an exponential backoff doubles from the first retry on, and then comes the dead letter sink', async () => {
    const url = await start({ retry: 3, backoffPolicy: 'exponential', backoffDelay: 'PT0.2S', ...dead() });
    answering({ status: 500, body: 'no' });
    await post(url);
    const [letter] = await subscriber.expect('/dead', 1);
    expectGaps([200, 400, 800]);
    expect(letter!.headers).toMatchObject({
      ...{ 'ce-id': 'id-1', 'ce-knativeerrordest': `${subscriber.url}/sub`, 'ce-knativeerrorcode': '500' },
      'ce-knativeerrordata': Buffer.from('no').toString('base64'),
    });
  });

  test('a linear backoff begins with an immediate retry', async () => {
    const url = await start({ retry: 3, backoffPolicy: 'linear', backoffDelay: 'PT0.2S', ...dead() });
    answering({ status: 503 });
    await post(url);
    await subscriber.expect('/dead', 1);
    expectGaps([0, 200, 400]);
  });

  test('durations are cut to tenths of a second, and without a policy all retries are immediate', async () => {
    const url = await start({ retry: 2, backoffDelay: 'PT5S', ...dead() });
    answering({ status: 500 });
    await post(url);
    await subscriber.expect('/dead', 1);
    expectGaps([0, 0]);
    await running!.stop();
    subscriber.received.length = 0;
    const cut = await start({ retry: 2, backoffPolicy: 'exponential', backoffDelay: 'PT0.19S', ...dead() });
    answering({ status: 500 });
    await post(cut);
    await subscriber.expect('/dead', 1);
    expectGaps([100, 200]);
  });

  test.each([
    ['honoured with retryAfterMax', 429, '1', 'PT10S', 1000],
    ['honoured up to retryAfterMax', 503, '5', 'PT0.5S', 500],
    ['ignored without retryAfterMax', 503, '5', undefined, 100],
    ['ignored on other statuses', 500, '5', 'PT10S', 100],
    ['ignored when it is no number of seconds', 429, '1.5', 'PT10S', 100],
  ])('Retry-After is %s', async (_name, status, retryAfter, retryAfterMax, ms) => {
    const backoff = { retry: 1, backoffPolicy: 'exponential', backoffDelay: 'PT0.1S' };
    const url = await start({ ...backoff, ...(retryAfterMax && { retryAfterMax }) });
    answering({ status, headers: { 'retry-after': retryAfter } }, {});
    await post(url);
    await subscriber.expect('/sub', 2);
    expectGaps([ms]);
  });

  test('a try is cut at the timeout, and its dead letter does not say why', async () => {
    const url = await start({ retry: 1, timeout: 'PT0.3S', ...dead() });
    let pending: ((reply: Reply) => void)[] = [];
    subscriber.script = ({ path }) =>
      path === '/sub' ? new Promise<Reply>((resolve) => pending.push(resolve)) : undefined;
    await post(url);
    const [letter] = await subscriber.expect('/dead', 1);
    expectGaps([300]);
    expect(letter!.headers).not.toHaveProperty('ce-knativeerrorcode');
    for (const resolve of pending) resolve({});
    pending = [];
  });

  test('a long error body is cut to 1,024 characters, and what the event says of an earlier death stays', async () => {
    const url = await start(dead());
    answering({ status: 400, body: 'x'.repeat(5000) });
    await post(url, { knativeerrordest: 'http://earlier' });
    const [letter] = await subscriber.expect('/dead', 1);
    expect(letter!.headers['ce-knativeerrordata']).toHaveLength(1024);
    expect(letter!.headers).toMatchObject({ 'ce-knativeerrordest': 'http://earlier', 'ce-knativeerrorcode': '400' });
  });

  test('a trigger that fails does not hold up another, nor other events of its own', async () => {
    const url = await start({ retry: 5, backoffPolicy: 'exponential', backoffDelay: 'PT0.2S' });
    subscriber.script = ({ headers }) => ({ status: headers['ce-id'] === 'bad' ? 500 : 200 });
    await post(url, { id: 'bad' });
    for (let n = 0; n < 20; n++) await post(url, { id: `good-${n}` });
    await subscriber.expect('/sub', 21, 500);
  });
});

describe('what is given up', () => {
  interface Parked {
    readonly id: string;
    readonly consumer: string;
    readonly event: Record<string, string>;
  }
  const parked = async (url: string) =>
    (await (await fetch(`${url}/mesh/dead-letters`)).json()) as { items: Parked[]; total: number };

  test('is parked when its sink fails as well, and can be replayed to the sink', async () => {
    const url = await start({ retry: 1, deadLetterSink: { uri: `${subscriber.url}/dead` } });
    subscriber.script = () => ({ status: 500 });
    // As bytes of UTF-8, which are legible again where people look.
    await post(url, { subject: Buffer.from('zażółć').toString('latin1') }, '"é"');
    await settled(url);
    const { items, total } = await parked(url);
    expect(total).toBe(1);
    expect(items[0]).toMatchObject({
      consumer: 'default/one dead letters',
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

  test('is parked when there is no sink, and can be replayed to the subscriber, all at once', async () => {
    const url = await start();
    subscriber.script = () => ({ status: 422 });
    for (let n = 0; n < 3; n++) await post(url, { id: `id-${n}` });
    await settled(url);
    expect((await parked(url)).total).toBe(3);
    subscriber.script = () => ({});
    expect(await (await fetch(`${url}/mesh/dead-letters/replay`, { method: 'POST' })).json()).toEqual({ replayed: 3 });
    await subscriber.expect('/sub', 6);
    await settled(url);
    expect((await parked(url)).total).toBe(0);
  });
});

describe('replies', () => {
  const reply = { status: 200, headers: { 'ce-id': 'r', 'ce-source': '/r', 'ce-type': 'r', 'ce-specversion': '1.0' } };

  test('come back as new events of the broker', async () => {
    const folder = manifests(
      broker('demo'),
      trigger('one', {
        ...{ broker: 'demo', subscriber: { uri: `${subscriber.url}/sub` } },
        filters: [{ exact: { type: 'com.example.a' } }],
      }),
      trigger('two', {
        ...{ broker: 'demo', subscriber: { uri: `${subscriber.url}/replies` } },
        filters: [{ exact: { type: 'r' } }],
      }),
    );
    running = await startBroker({ manifests: folder, port: 0, database: newDatabase(), services: {} });
    answering(reply);
    await post(running.url);
    const [replied] = await subscriber.expect('/replies', 1);
    expect(replied!.headers).toMatchObject({ 'ce-id': 'r', 'ce-source': '/r' });
  });

  test('live one hop less than what they reply to, so that a loop ends in the dead letter sink', async () => {
    const url = await start({ deadLetterSink: { uri: `${subscriber.url}/dead` } });
    answering(reply);
    await post(url, { knativebrokerttl: '10' });
    const [letter] = await subscriber.expect('/dead', 1);
    expect(subscriber.to('/sub')).toHaveLength(9);
    expect(letter!.headers).toMatchObject({
      ...{ 'ce-knativebrokerttl': '1', 'ce-knativeerrordest': `${url}/default/demo`, 'ce-knativeerrorcode': '400' },
      'ce-knativeerrordata': '',
    });
  });
});

test('each message is told as it crosses, with the end of its id', async () => {
  const lines: string[] = [];
  const folder = manifests(
    broker('demo', { retry: 1, deadLetterSink: { ref: { kind: 'Service', name: 'nowhere' } } }),
    trigger('one', { broker: 'demo', subscriber: { uri: `${subscriber.url}/sub` } }),
  );
  const tell = (line: string) => lines.push(line.replace(/^\S+ +/, ''));
  running = await startBroker({ manifests: folder, port: 0, database: newDatabase(), services: {}, tell });
  expect(running.description.join('\n')).toMatch(/UNRESOLVED \(--service nowhere=URL\)/);
  answering({}, { status: 500, body: 'oh' });
  await post(running.url, { id: '01a20c4c-d9b2-744b-b5e5-d8813ad29d0d' });
  await settled(running.url);
  await post(running.url, { id: '2', subject: 'it' });
  await settled(running.url);
  await post(running.url, { source: '' });
  expect(lines).toEqual([
    'accepted   com.example.a  …3ad29d0d  for default/one',
    'delivered  com.example.a  …3ad29d0d  to default/one: 200',
    'accepted   com.example.a  it  2  for default/one',
    'failed     com.example.a  it  2  default/one: retry 1 in 0 ms (500 oh)',
    'dead       com.example.a  it  2  default/one: gave up (500 oh)',
    'failed     com.example.a  it  2  default/one dead letters: retry 1 in 0 ms (nobody has said where it lives)',
    'parked     com.example.a  it  2  default/one dead letters: gave up as well, parked here (nobody has said where it lives)',
    'refused    400: The source is no URI reference',
  ]);
});

test('first attempts of a partition key come in order, one after the other', async () => {
  const url = await start();
  let together = 0;
  subscriber.script = async ({ headers }) => {
    if (headers['ce-subject'] === 'a' && ++together > 1) return { status: 422 };
    await new Promise((resolve) => setTimeout(resolve, 3));
    if (headers['ce-subject'] === 'a') together--;
    return {};
  };
  for (let n = 0; n < 40; n++) await post(url, { id: String(n), subject: n % 2 ? 'a' : 'b' });
  await settled(url);
  const ids = subscriber.received
    .filter((it) => it.headers['ce-subject'] === 'a')
    .map((it) => Number(it.headers['ce-id']));
  expect(ids).toEqual(Array.from({ length: 20 }, (_, n) => 2 * n + 1));
});

test('a body that does not come is answered 400 after ten seconds', async () => {
  const url = await start();
  const began = Date.now();
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  const lines = event().map(([name, value]) => `${name}: ${value}\r\n`);
  socket.write(`POST /default/demo HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n${lines.join('')}\r\nabc`);
  const [answer] = (await once(socket, 'data')) as [Buffer];
  socket.destroy();
  expect(answer.toString()).toMatch(/^HTTP\/1\.1 400 /);
  expect(Date.now() - began).toBeGreaterThan(9900);
});

describe('the process', () => {
  async function spawned(...options: string[]): Promise<{ child: ChildProcess; url: string; output: () => string }> {
    const child = spawn(process.execPath, ['--import', 'tsx', 'tools/mesh.ts', ...options], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let output = '';
    const url = await new Promise<string>((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`It does not start:\n${output}`)), 25_000);
      const read = (chunk: Buffer) => {
        output += chunk.toString();
        const [, found] = /Broker default\/demo: (http:\/\/localhost:\d+)/.exec(output) ?? [];
        if (!found) return;
        clearTimeout(late);
        resolve(found);
      };
      child.stdout.on('data', read);
      child.stderr.on('data', read);
      child.once('exit', () => reject(new Error(`It ended:\n${output}`)));
    });
    return { child, url, output: () => output };
  }

  async function ended(child: ChildProcess, signal: NodeJS.Signals): Promise<number | null> {
    const gone = once(child, 'exit');
    child.kill(signal);
    const [code] = (await gone) as [number | null];
    return code;
  }

  test('killed right after its 202s, it delivers everything when it is started again, and ends with 0 on SIGTERM', async () => {
    const folder = manifests(
      broker('demo', { retry: 20, backoffPolicy: 'linear', backoffDelay: 'PT0.1S' }),
      trigger('one', { broker: 'demo', subscriber: { ref: { kind: 'Service', name: 'shop' }, uri: '/sub' } }),
    );
    const options = [
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
    // Nothing is handled before the crash.
    subscriber.script = () => ({ status: 503 });
    const ids = Array.from({ length: 200 }, (_, n) => `id-${n}`);
    const answers = await Promise.all(ids.map((id) => post(first.url, { id })));
    await ended(first.child, 'SIGKILL');
    expect(answers.every(({ status }) => status === 202)).toBe(true);
    subscriber.received.length = 0;
    subscriber.script = () => undefined;
    const second = await spawned(...options);
    await settled(second.url);
    expect(subscriber.received.map((it) => it.headers['ce-id']).sort()).toEqual([...ids].sort());
    expect(second.output()).toMatch(/a development tool\. Production is Knative/);
    expect(second.output()).toMatch(/200 messages of an earlier run/);
    expect(await ended(second.child, 'SIGTERM')).toBe(0);
  }, 60_000);
});
