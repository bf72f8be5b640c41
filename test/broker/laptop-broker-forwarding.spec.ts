import { gzipSync } from 'node:zlib';
import { CHANNEL_KINDS } from '../../tools/broker/channel.js';
import { broker, Recorder, send, settled, trigger } from '../support/broker-requests.js';
import { laptopBroker } from '../support/laptop-broker.js';

/* The bytes that the broker forwards, and how many requests it makes at a time. */

const { subscriber, start, startFor, answering, post } = laptopBroker();

describe.each(CHANNEL_KINDS)('The %s channel', (channel) => {
  /** Posts a structured event with these members beside the required ones. @returns the forwarded body */
  async function forwarded(members: string, url: string): Promise<string> {
    const body = `{"specversion":"1.0","id":"1","source":"/s","type":"t"${members}}`;
    const headers: [string, string][] = [['content-type', 'application/cloudevents+json']];
    expect((await send(url, '/default/demo', { headers, body: Buffer.from(body, 'latin1') })).status).toBe(202);
    const [received] = await subscriber.expect('/sub', 1);
    subscriber.received.length = 0;
    return received!.body.toString('latin1');
  }

  const DATA = [
    ['a large integer', '12345678901234567890', '12345678901234567890'],
    ['a fraction', '{"a":1.10,"b":1e2,"c":-0}', '{"a":1.10,"b":1e2,"c":-0}'],
    ['equal keys', '{"a":1,"a":2}', '{"a":1,"a":2}'],
    ['the order of keys', '{"b":1,"2":2,"1":3,"a":4}', '{"b":1,"2":2,"1":3,"a":4}'],
    ['escapes', String.raw`{"\u0061":"\u00e9\/\"\\"}`, String.raw`{"\u0061":"\u00e9\/\"\\"}`],
    ['UTF-8 and invalid UTF-8', '"\xc3\xa9\xff"', '"\xc3\xa9\xff"'],
    ['brackets and commas in strings', '["}", "]", ",", "\\"}"]', '["}","]",",","\\"}"]'],
    ['whitespace between tokens only', ' { "a" :\t[ 1 ,\r\n "x y" ] } ', '{"a":[1,"x y"]}'],
    ['a key __proto__', '{"__proto__":1}', '{"__proto__":1}'],
    ['false', ' false ', 'false'],
    ['an empty string', '""', '""'],
  ] as const;

  test('keeps the bytes of structured JSON data', async () => {
    const url = await start(undefined, { channel });
    for (const [name, data, wanted] of DATA) {
      const without = await forwarded(`,"data":${data}`, url);
      const withType = await forwarded(`,"datacontenttype":"application/json","data":${data} ,"x":1`, url);
      expect({ name, without, withType }).toEqual({ name, without: wanted, withType: wanted });
    }
  });

  test('forwards the last of several data members', async () => {
    const url = await start(undefined, { channel });
    expect(await forwarded(',"data":1,"data":2', url)).toBe('2');
    expect(await forwarded(',"data_base64":"AAEC","data":{"a":1}', url)).toBe('{"a":1}');
    expect(await forwarded(',"datacontenttype":"text/plain","data":"\\u00e9"', url)).toBe('\xc3\xa9');
  });

  test('refuses members that contradict each other or are invalid', async () => {
    const url = await start(undefined, { channel });
    const headers: [string, string][] = [['content-type', 'application/cloudevents+json']];
    for (const members of [
      ',"specversion":"1.0"',
      ',"datacontenttype":"a/b","datacontenttype":"a/b"',
      ',"id":2,"id":"2"',
      ',"data":1,',
    ]) {
      const body = `{"specversion":"1.0","id":"1","source":"/s","type":"t"${members}}`;
      expect([members, (await send(url, '/default/demo', { headers, body })).status]).toEqual([members, 400]);
    }
  });

  test('makes any number of requests to a slow subscriber at a time, also of one subject', async () => {
    const url = await start(undefined, { channel });
    const events = 400;
    let release = (): void => undefined;
    const released = new Promise<void>((resolve) => (release = resolve));
    subscriber.script = () => released.then(() => ({}));
    const posts = Array.from({ length: events }, (_, n) => post(url, { id: String(n), subject: 'one' }));
    await subscriber.expect('/sub', events);
    release();
    expect((await Promise.all(posts)).every(({ status }) => status === 202)).toBe(true);
    await settled(url);
  });

  test('asks for gzip, and decodes it in errors and replies, but no other encoding', async () => {
    const url = await start({ deadLetterSink: { uri: `${subscriber.url}/dead` } }, { channel });
    const letterOf = async (encoding: string, body: Buffer) => {
      subscriber.received.length = 0;
      answering({ status: 400, headers: { 'content-encoding': encoding }, body });
      await post(url);
      const [letter] = await subscriber.expect('/dead', 1);
      expect(subscriber.to('/sub')[0]!.headers['accept-encoding']).toBe('gzip');
      return Buffer.from(letter!.headers['ce-knativeerrordata']!, 'base64');
    };
    const zipped = gzipSync('no such driver');
    expect((await letterOf('gzip', zipped)).toString()).toBe('no such driver');
    expect((await letterOf('GZIP', zipped)).toString()).toBe('no such driver');
    expect(await letterOf('br', zipped)).toEqual(zipped);
    expect((await letterOf('gzip', Buffer.alloc(0))).toString()).toBe('');
  });

  test('forwards a reply in gzip without the encoding', async () => {
    const filters = (type: string) => [{ exact: { type } }];
    const resources = [
      broker('demo'),
      trigger('one', {
        broker: 'demo',
        subscriber: { uri: `${subscriber.url}/sub` },
        filters: filters('com.example.a'),
      }),
      trigger('two', { broker: 'demo', subscriber: { uri: `${subscriber.url}/reply` }, filters: filters('r') }),
    ];
    const { url } = await startFor(resources, { channel });
    const attributes = { 'ce-id': 'r', 'ce-source': '/r', 'ce-type': 'r', 'ce-specversion': '1.0' };
    answering({ headers: { ...attributes, 'content-encoding': 'gzip' }, body: gzipSync('{"r":1}') });
    await post(url);
    const [reply] = await subscriber.expect('/reply', 1);
    expect(reply!.body.toString()).toBe('{"r":1}');
    expect(reply!.headers).not.toHaveProperty('content-encoding');
  });

  test.each([
    ['without a path', ''],
    ['with a path', '/'],
    ['with a path and a query', '/a%2fb?c=d'],
  ])('names a subscriber %s in a dead letter as in the manifest', async (_name, path) => {
    const closed = await new Recorder().start();
    const uri = `${closed.url}${path}`;
    const service = { ref: { kind: 'Service', name: 'shop' } };
    await closed.stop();
    const resources = [
      broker('demo', { deadLetterSink: { uri: `${subscriber.url}/dead` } }),
      trigger('uri', { broker: 'demo', subscriber: { uri } }),
      trigger('service', { broker: 'demo', subscriber: service }),
    ];
    const { url } = await startFor(resources, { channel, services: { shop: uri } });
    await post(url);
    const letters = await subscriber.expect('/dead', 2);
    for (const { headers } of letters) {
      expect(headers['ce-knativeerrordest']).toBe(uri);
      const text = Buffer.from(headers['ce-knativeerrordata']!, 'base64').toString();
      expect(text).toContain(`dispatch error: Post "${uri}": dial tcp`);
    }
  });
});
