import { CHANNEL_KINDS, type ChannelKind } from '../../tools/broker/channel.js';
import { laptopBroker } from '../support/laptop-broker.js';
import { broker, trigger, type Reply } from '../support/broker-requests.js';

const { subscriber, startFor, answering, post } = laptopBroker();

/** The waits before the retries that the broker has printed, in ms. */
let printed: number[];

/** Starts a broker `default/demo` with one trigger for the subscriber's /sub. @returns its URL */
async function startWith(channel: ChannelKind, delivery: object): Promise<string> {
  printed = [];
  const print = (line: string) => {
    const [, ms] = /: retry \d+ in (\d+) ms/.exec(line) ?? [];
    if (ms !== undefined) printed.push(Number(ms));
  };
  const spec = { broker: 'demo', subscriber: { uri: `${subscriber.url}/sub` } };
  return (await startFor([broker('demo', delivery), trigger('one', spec)], { channel, print })).url;
}

function gaps(path = '/sub'): number[] {
  const times = subscriber.to(path).map(({ at }) => at);
  return times.slice(1).map((at, index) => at - times[index]!);
}

/** How much shorter a gap may be than its wait, in ms: a busy machine may notice the first of two requests later. */
const LATE_MS = 50;

/** Expects these waits in ms. On a busy machine a retry may be later, so the timers are compared by what was printed. */
function expectWaits(wanted: number[]): void {
  expect(printed).toEqual(wanted);
  const found = gaps();
  expect(found).toHaveLength(wanted.length);
  for (const [index, ms] of wanted.entries()) expect(found[index]).toBeGreaterThanOrEqual(ms - LATE_MS);
}

const dead = () => ({ deadLetterSink: { uri: `${subscriber.url}/dead` } });

describe.each(CHANNEL_KINDS)('The %s channel:', (channel) => {
  const start = (delivery: object) => startWith(channel, delivery);

  test('an exponential backoff doubles from the first retry on, and the last failure goes to the dead letter sink', async () => {
    const url = await start({ retry: 3, backoffPolicy: 'exponential', backoffDelay: 'PT0.2S', ...dead() });
    answering({ status: 500, body: 'no' });
    await post(url);
    const [letter] = await subscriber.expect('/dead', 1);
    expectWaits([200, 400, 800]);
    expect(letter!.headers).toMatchObject({
      'ce-id': 'id-1',
      'ce-knativeerrordest': `${subscriber.url}/sub`,
      'ce-knativeerrorcode': '500',
      'ce-knativeerrordata': Buffer.from('no').toString('base64'),
    });
  });

  test('a linear backoff begins with an immediate retry', async () => {
    const url = await start({ retry: 3, backoffPolicy: 'linear', backoffDelay: 'PT0.2S', ...dead() });
    answering({ status: 503 });
    await post(url);
    await subscriber.expect('/dead', 1);
    expectWaits([0, 200, 400]);
  });

  test('durations are truncated to 0.1 s, and without a policy all retries are immediate', async () => {
    const url = await start({ retry: 2, backoffDelay: 'PT5S', ...dead() });
    answering({ status: 500 });
    await post(url);
    await subscriber.expect('/dead', 1);
    expectWaits([0, 0]);
    const cut = await start({ retry: 2, backoffPolicy: 'exponential', backoffDelay: 'PT0.19S', ...dead() });
    answering({ status: 500 });
    await post(cut);
    await subscriber.expect('/dead', 1);
    expectWaits([100, 200]);
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
    expectWaits([ms]);
  });

  test('an attempt ends at the timeout, and its dead letter has no error attributes', async () => {
    const url = await start({ retry: 1, timeout: 'PT0.3S', ...dead() });
    let pending: ((reply: Reply) => void)[] = [];
    subscriber.script = ({ path }) =>
      path === '/sub' ? new Promise<Reply>((resolve) => pending.push(resolve)) : undefined;
    const posted = post(url);
    const [letter] = await subscriber.expect('/dead', 1);
    await posted;
    // An immediate retry, after a timeout of 300 ms.
    expectWaits([0]);
    expect(gaps()[0]).toBeGreaterThanOrEqual(300 - LATE_MS);
    expect(letter!.headers).not.toHaveProperty('ce-knativeerrorcode');
    for (const resolve of pending) resolve({});
    pending = [];
  });

  test('a long error body is truncated to 1,024 characters, and error attributes of the event are kept', async () => {
    const url = await start(dead());
    answering({ status: 400, body: 'x'.repeat(5000) });
    await post(url, { knativeerrordest: 'http://earlier' });
    const [letter] = await subscriber.expect('/dead', 1);
    expect(letter!.headers['ce-knativeerrordata']).toHaveLength(1024);
    expect(letter!.headers).toMatchObject({ 'ce-knativeerrordest': 'http://earlier', 'ce-knativeerrorcode': '400' });
  });

  test('a failing event does not delay other events of its trigger', async () => {
    // A delayed event would arrive a minute later, with the first retry.
    const url = await start({ retry: 5, backoffPolicy: 'exponential', backoffDelay: 'PT60S' });
    subscriber.script = ({ headers }) => ({ status: headers['ce-id'] === 'bad' ? 500 : 200 });
    // Over the synchronous channel there is no answer until the broker stops.
    post(url, { id: 'bad' }).catch(() => undefined);
    await subscriber.expect('/sub', 1);
    for (let n = 0; n < 20; n++) await post(url, { id: `good-${n}` });
    await subscriber.expect('/sub', 21, 20_000);
  });
});
