import { request } from 'node:http';
import { setTimeout as wait } from 'node:timers/promises';
import { bodyOf, capture, differing, expectDifferences, without, type Exchange } from '../support/broker-recordings.js';
import { broker, event, Recorder, send, settled, trigger, type Reply } from '../support/broker-requests.js';
import { laptopBroker } from '../support/laptop-broker.js';

/* The synchronous channel: what its answer says of the deliveries, and what a publisher that hangs up does to them. */

const { subscriber, start, startFor, stop, answering, newDatabase, post } = laptopBroker();
const dead = () => ({ deadLetterSink: { uri: `${subscriber.url}/dead` } });

/** Triggers for a subscriber at /sub, and for its replies (of the type `reply`) at /reply. */
const repliedTo = (delivery?: object) => [
  trigger('one', {
    broker: 'demo',
    subscriber: { uri: `${subscriber.url}/sub` },
    filters: [{ not: { exact: { type: 'reply' } } }],
    ...(delivery && { delivery }),
  }),
  trigger('two', {
    broker: 'demo',
    subscriber: { uri: `${subscriber.url}/reply` },
    filters: [{ exact: { type: 'reply' } }],
  }),
];
const status = async (url: string) => (await post(url)).status;

interface Failure extends Pick<Exchange, 'name' | 'headers' | 'body' | 'response'> {
  readonly forwarded: NonNullable<Exchange['forwarded']>;
}

test('failing deliveries are answered as recorded', async () => {
  const cases = capture<Failure[]>('1.18.4', 'failures');
  expect(cases).toHaveLength(5);
  const found = await differing(cases, async (it) => {
    const hasSink = !it.name.endsWith('not set');
    // The recorded delays are ten times as long.
    const delivery = hasSink && { retry: 2, backoffPolicy: 'exponential', backoffDelay: 'PT0.2S' };
    const panics = it.name.startsWith('dispatcher with error body');
    const url = await start({ ...(!panics && delivery), ...(hasSink && dead()) });
    const answers = it.forwarded.map(({ answer }) => answer);
    subscriber.script = () => answers.shift();
    const answer = await send(url, '/default/demo', {
      headers: it.headers as [string, string][],
      body: bodyOf(it as Exchange),
    });
    expect({ status: answer.status, headers: without(answer.headers) }).toEqual(it.response);
    expect(subscriber.received.map(({ path, headers, body }) => shown(path, headers, body.toString()))).toEqual(
      it.forwarded.map(({ path, headers, body }) => shown(path, headers, body)),
    );
  });
  expectDifferences(found, '1.18.4', 'failures');
});

/** The comparable parts of a request, with the addresses of the recording. */
function shown(path: string, headers: Record<string, string>, body: unknown): object {
  const { 'ce-knativeerrordest': dest, ...others } = without(headers, 'traceparent', 'ce-knativearrivaltime');
  return {
    path: path.replace('/dead', '/dls'),
    headers: without(others, 'accept-encoding'),
    dest: dest?.replace(subscriber.url, 'http://127.0.0.1:9100'),
    body,
  };
}

describe('the answer', () => {
  test('202 comes after all subscribers have handled the event, retries included', async () => {
    const delivery = { retry: 2, backoffPolicy: 'exponential', backoffDelay: 'PT0.1S' };
    const { url } = await startFor([
      broker('demo', delivery),
      trigger('fast', { broker: 'demo', subscriber: { uri: `${subscriber.url}/fast` } }),
      trigger('slow', { broker: 'demo', subscriber: { uri: `${subscriber.url}/sub` } }),
      trigger('other', { broker: 'demo', filter: { attributes: { type: 'x' } }, subscriber: { uri: subscriber.url } }),
    ]);
    answering({ status: 500 }, { status: 500 }, {});
    const began = performance.now();
    expect(await status(url)).toBe(202);
    expect(performance.now() - began).toBeGreaterThanOrEqual(295);
    expect(subscriber.received.map(({ path }) => path).sort()).toEqual(['/fast', '/sub', '/sub', '/sub']);
  });

  test('202 comes at once when no Trigger matches', async () => {
    const { url } = await startFor([broker('demo')]);
    expect(await status(url)).toBe(202);
  });

  test('202 comes after the dead letter sink has the event', async () => {
    const url = await start({ retry: 1, ...dead() });
    answering({ status: 500, body: 'no' });
    expect(await status(url)).toBe(202);
    expect(subscriber.received.map(({ path }) => path)).toEqual(['/sub', '/sub', '/dead']);
  });

  test.each([
    ['a subscriber fails without a dead letter sink', false, { status: 422 }, 1],
    ['the dead letter sink fails, after its retries', true, { status: 500 }, 4],
  ])('500 comes when %s, and nothing is kept', async (_name, hasSink, reply, requests) => {
    const url = await start({ retry: 1, ...(hasSink && dead()) });
    subscriber.script = () => reply;
    expect(await status(url)).toBe(500);
    expect(subscriber.received).toHaveLength(requests);
    expect(await (await fetch(`${url}/mesh/outbox`)).json()).toMatchObject({ pending: 0, deadLetters: 0 });
    // The publisher posts the event again, and all deliveries begin anew.
    subscriber.script = () => undefined;
    expect(await status(url)).toBe(202);
    expect(subscriber.received).toHaveLength(requests + 1);
  });

  test('500 comes when one of two subscribers fails, but only after the other one has ended', async () => {
    const { url } = await startFor([
      broker('demo'),
      trigger('bad', { broker: 'demo', subscriber: { uri: `${subscriber.url}/bad` } }),
      trigger('slow', { broker: 'demo', subscriber: { uri: `${subscriber.url}/slow` } }),
    ]);
    let hasEnded = false;
    subscriber.script = async ({ path }) => {
      if (path === '/bad') return { status: 400 };
      await wait(200);
      hasEnded = true;
      return {};
    };
    expect(await status(url)).toBe(500);
    expect(hasEnded).toBe(true);
  });

  test('500 comes when the address of the subscriber is unknown', async () => {
    const spec = { broker: 'demo', subscriber: { ref: { kind: 'Service', name: 'nowhere' } } };
    const { url } = await startFor([broker('demo'), trigger('one', spec)]);
    expect(await status(url)).toBe(500);
  });
});

describe('a publisher that hangs up', () => {
  /** Posts an event and closes the connection when `until` resolves. */
  async function hangUp(url: string, until: () => Promise<unknown>): Promise<void> {
    const { hostname, port } = new URL(url);
    const headers = Object.fromEntries(event());
    const outgoing = request({ hostname, port, path: '/default/demo', method: 'POST', headers, agent: false });
    outgoing.on('error', () => undefined);
    outgoing.end('{"a":1}');
    await until();
    outgoing.destroy();
  }

  test('cancels the retries: nothing is dead-lettered, and posting again begins anew', async () => {
    const lines: string[] = [];
    const delivery = { retry: 1, backoffPolicy: 'exponential', backoffDelay: 'PT0.3S', ...dead() };
    const url = await start(delivery, { print: (line) => lines.push(line) });
    answering({ status: 500 });
    await hangUp(url, () => subscriber.expect('/sub', 1));
    await settled(url);
    await wait(500);
    expect(subscriber.received.map(({ path }) => path)).toEqual(['/sub']);
    expect(lines.at(-1)).toMatch(/cancelled .* id-1 {2}for default\/one \(the publisher has hung up\)$/);
    expect(await status(url)).toBe(202);
    expect(subscriber.received.map(({ path }) => path)).toEqual(['/sub', '/sub', '/sub', '/dead']);
  });

  test('cancels the request to a subscriber, and the deliveries of a reply', async () => {
    const { url } = await startFor([broker('demo', dead()), ...repliedTo()]);
    const reply = { headers: { 'ce-id': 'r', 'ce-source': '/r', 'ce-type': 'reply', 'ce-specversion': '1.0' } };
    let release = (_: Reply): void => undefined;
    subscriber.script = ({ path }) => {
      if (path === '/sub') return reply;
      return new Promise((resolve) => (release = resolve));
    };
    await hangUp(url, () => subscriber.expect('/reply', 1));
    // The subscriber has not answered yet.
    await settled(url);
    release({ status: 500 });
    expect(subscriber.to('/dead')).toEqual([]);
  });
});

test('a reply that fails is retried, and then the event goes to the dead letter sink', async () => {
  const { url } = await startFor([broker('demo'), ...repliedTo({ retry: 1, ...dead() })]);
  const headers = { 'ce-id': 'r', 'ce-source': '/r', 'ce-type': 'reply', 'ce-specversion': '1.0' };
  subscriber.script = ({ path }) => (path === '/sub' ? { headers } : path === '/reply' ? { status: 400 } : {});
  expect(await status(url)).toBe(202);
  expect(subscriber.received.map(({ path }) => path)).toEqual(['/sub', '/reply', '/reply', '/dead']);
  expect(subscriber.to('/dead')[0]!.headers).toMatchObject({
    'ce-id': 'id-1',
    'ce-knativeerrordest': `${url}/default/demo`,
    'ce-knativeerrorcode': '500',
  });
});

test('a broker that stops gives publishers no answer, so that they post again', async () => {
  const { url } = await startFor([
    broker('demo', { retry: 5, backoffPolicy: 'exponential', backoffDelay: 'PT60S' }),
    trigger('one', { broker: 'demo', subscriber: { uri: `${subscriber.url}/sub` } }),
  ]);
  answering({ status: 500 });
  const answer = status(url).then(
    (it) => `answered ${it}`,
    () => 'no answer',
  );
  await subscriber.expect('/sub', 1);
  await stop(100);
  expect(await answer).toBe('no answer');
});

test('messages that an asynchronous run has stored are delivered by a synchronous one', async () => {
  const database = newDatabase();
  const target = await new Recorder().start();
  const resources = [
    broker('demo', { retry: 100, backoffPolicy: 'linear', backoffDelay: 'PT60S' }),
    trigger('one', { broker: 'demo', subscriber: { uri: `${target.url}/sub` } }),
  ];
  target.script = () => ({ status: 503 });
  const first = await startFor(resources, { channel: 'asynchronous', database });
  for (const id of ['1', '2', '3']) expect((await post(first.url, { id })).status).toBe(202);
  await target.expect('/sub', 3);
  target.received.length = 0;
  target.script = () => undefined;
  const { url, description } = await startFor(resources, { database });
  expect(description.join('\n')).toContain('3 messages of an earlier run are still to be delivered.');
  await settled(url);
  expect(target.received.map(({ headers }) => headers['ce-id']).sort()).toEqual(['1', '2', '3']);
  await target.stop();
});
