import { setTimeout as wait } from 'node:timers/promises';
import { ANSWERS, CHANNEL_KINDS } from '../../tools/broker/channel.js';
import { readManifests } from '../../tools/broker/manifests.js';
import {
  ALWAYS,
  bodyOf,
  capture,
  differing,
  expectDifferences,
  headersOf,
  without,
  type Exchange,
} from '../support/broker-recordings.js';
import { laptopBroker } from '../support/laptop-broker.js';
import { broker, manifests, Recorder, send, settled, trigger, type Received } from '../support/broker-requests.js';

/*
 * Sends all recorded requests of a real Knative broker to the laptop broker: those of 1.18.4 to the synchronous channel, those
 * of 1.12.6 to the asynchronous one. The laptop broker has to answer and forward as recorded, except for the cases in the list
 * of differences. A listed case that doesn't differ fails, too.
 */

const { subscriber, startFor } = laptopBroker();

const KINDS = CHANNEL_KINDS.map((channel) => ({ channel, version: ANSWERS[channel].version }));

/** What the ingress forwards where that differs from the request, by the name of the case. */
const FORWARDED: Record<string, { headers?: Record<string, string | undefined>; body?: string | Buffer }> = {
  'binary: source with space': { headers: { 'ce-source': 'not%20a%20uri' } },
  'binary: empty subject': { headers: { 'ce-subject': undefined } },
  'structured: specversion 0.3': { headers: { 'ce-specversion': '0.3' } },
  'structured: data_base64': { body: Buffer.from('AAEC', 'base64') },
  'structured: data and data_base64': { body: Buffer.from('AAEC', 'base64') },
  'structured: no data': { body: '' },
  'structured: data null': { body: 'null' },
  'structured: data string, json type': { body: '"x"' },
  'structured: data string, text/plain': { headers: { 'content-type': 'text/plain' }, body: 'x' },
  'structured: data object, no datacontenttype': { headers: { 'content-type': undefined } },
  'structured: ext number': { headers: { 'ce-myext': '5' } },
  'structured: ext float': { headers: { 'ce-myext': '1' } },
  'structured: ext bool': { headers: { 'ce-myext': 'true' } },
  'structured: ext upper-case name': { headers: { 'ce-myext': 'v' } },
  'structured: duplicate key id': {
    headers: { 'ce-id': '2', 'ce-source': '/s', 'ce-type': 't', 'content-type': undefined },
    body: '',
  },
  'structured: huge body 10 MiB structured': { body: `"${'x'.repeat(10_485_879 - 119)}"` },
};

function expectedForward(it: Exchange): { headers: Record<string, string>; body: Buffer } {
  const sent = Object.fromEntries(
    headersOf(it)
      .reverse()
      .map(([name, value]) => [name.toLowerCase(), value]),
  );
  const isStructured = sent['content-type']?.toLowerCase().startsWith('application/cloudevents+json');
  const plain = isStructured
    ? {
        'ce-id': 'id-1',
        'ce-source': '/src',
        'ce-type': 'com.example.a',
        'ce-specversion': '1.0',
        'content-type': 'application/json',
      }
    : Object.fromEntries(Object.entries(sent).filter(([name]) => name.startsWith('ce-') || name === 'content-type'));
  const { headers = {}, body = isStructured ? '{"a":1}' : bodyOf(it) } = FORWARDED[it.name] ?? {};
  const merged: Record<string, string | undefined> = { ...plain, ...headers };
  const present = Object.entries(merged).filter((entry): entry is [string, string] => entry[1] !== undefined);
  return { headers: without(Object.fromEntries(present), ...BY_THE_BROKER), body: Buffer.from(body) };
}

/** Headers that the broker sets itself. */
const BY_THE_BROKER = [
  'accept-encoding',
  'ce-knativearrivaltime',
  'ce-knativebrokerttl',
  'kn-namespace',
  'prefer',
  'traceparent',
];

test.each(KINDS)(
  '$channel: the ingress answers as recorded, and forwards what it accepts',
  async ({ channel, version }) => {
    const resources = [broker('demo'), trigger('all', { broker: 'demo', subscriber: { uri: subscriber.url } })];
    const { url } = await startFor(resources, { channel });
    const cases = capture<Exchange[]>(version, 'ingress');
    expect(cases).toHaveLength(184);
    let accepted = 0;
    const found = await differing(cases, async (it) => {
      const chunked = it.headers.some(([name]) => name === 'Transfer-Encoding');
      const answer = await send(url, it.path, { ...it, headers: headersOf(it), body: bodyOf(it), chunked });
      expect({ status: answer.status, headers: without(answer.headers), body: answer.body }).toEqual({
        body: '',
        ...it.response,
      });
      if (answer.status !== 202) return;
      const got = (await subscriber.expect('/', ++accepted))[accepted - 1]!;
      const wanted = expectedForward(it);
      expect(without(got.headers, ...BY_THE_BROKER)).toEqual(wanted.headers);
      expect(got.body.equals(wanted.body)).toBe(true);
      expect(got.headers).toMatchObject({ 'kn-namespace': 'default', prefer: 'reply' });
      expect(got.headers['ce-knativearrivaltime']).toMatch(/^20\d\d-.*Z$/);
      expect(got.headers['ce-knativearrivaltime']).not.toContain('2000-01-01');
      expect(got.headers).not.toHaveProperty('ce-knativebrokerttl');
      subscriber.received[accepted - 1] = { ...got, body: Buffer.alloc(0) };
    });
    expectDifferences(found, version, 'ingress');
    await settled(url);
    // No refused event has been forwarded.
    expect(subscriber.received).toHaveLength(accepted);
  },
  120_000,
);

/** The filter was recorded from 1.12.6 only. */
test.each(KINDS)(
  '$channel: a subscriber gets the recorded request, and its answer has the recorded effect',
  async ({ channel }) => {
    const closed = await new Recorder().start();
    const refusing = closed.url;
    await closed.stop();
    const delivery = { deadLetterSink: { uri: `${subscriber.url}/dead` } };
    const resources = [
      ...['direct', 'hostonly', 'refused'].map((name) => broker(name)),
      trigger('direct', {
        broker: 'direct',
        delivery,
        subscriber: { uri: `${subscriber.url}/sub` },
        filter: { attributes: { type: 'com.example.a' } },
      }),
      trigger('watch', { broker: 'direct', subscriber: { uri: `${subscriber.url}/watch` } }),
      trigger('hostonly', { broker: 'hostonly', subscriber: { uri: subscriber.url } }),
      trigger('refused', { broker: 'refused', delivery, subscriber: { uri: `${refusing}/x` } }),
    ];
    const { url } = await startFor(resources, { channel });
    // The recording has the ports of the machine on which it was made.
    const local = (text: string) =>
      text.replaceAll('127.0.0.1:9100', `127.0.0.1:${subscriber.port}`).replaceAll('http://127.0.0.1:9199', refusing);
    const unchanged = new Set<string>();
    const found = await differing(capture<Exchange[]>('1.12.6', 'filter-direct'), async (it) => {
      subscriber.received.length = 0;
      const answers = it.forwarded?.map(({ answer }) => answer) ?? [];
      subscriber.script = ({ path }) => (path === '/dead' || path === '/watch' ? {} : answers.shift());
      const name = /^\/triggers\/default\/(\w+)\/uid-\1$/.exec(it.path)?.[1] ?? '';
      const isEvent = it.method === 'POST' && ['direct', 'hostonly', 'refused'].includes(name);
      const answer = await send(url, isEvent ? `/default/${name}` : it.path, {
        method: it.method,
        headers: headersOf(it),
        body: bodyOf(it),
      });
      await settled(url);
      if (!isEvent || answer.status !== 202) return expect(answer.status).toBe(it.response.status);
      const direct = subscriber.received.filter(({ path }) => path !== '/watch' && path !== '/dead');
      // A reply of the same type is delivered to the subscriber again.
      const own = direct.filter(({ headers }) => headers['ce-id'] !== 'r1');
      expect(own.map(shown)).toEqual((it.forwarded ?? []).map((forward) => shown(recorded(forward))));
      for (const [index, { headers }] of (it.forwarded ?? []).entries()) {
        for (const name of ALWAYS) if (headers[name] === own[index]?.headers[name]) unchanged.add(name);
      }
      expectEffect(it.response, local);
    });
    // A header that is listed as different must differ.
    expect([...unchanged]).toEqual([]);
    expectDifferences(found, '1.12.6', 'filter-direct');

    // The answer of the filter to the channel can be seen in replies and dead letters.
    function expectEffect({ status, headers, body = '' }: Exchange['response'], local: (text: string) => string): void {
      const [dead] = subscriber.to('/dead');
      const [reply] = subscriber.to('/watch').slice(1);
      const said = ({ headers: it }: Received) => ({
        dest: it['ce-knativeerrordest'],
        code: it['ce-knativeerrorcode'],
        text:
          it['ce-knativeerrordata'] === undefined
            ? undefined
            : Buffer.from(it['ce-knativeerrordata'], 'base64').toString(),
      });
      if (status < 300 && headers['ce-specversion'] && !headers['ce-id']) {
        // The filter forwards the reply, and the ingress refuses it.
        expect(said(dead!)).toEqual({ dest: `${url}/default/direct`, code: '400', text: '' });
      } else if (status < 300) {
        expect(dead).toBeUndefined();
        const isReply = headers['ce-specversion'] !== undefined;
        expect(
          reply && {
            headers: without(reply.headers, ...BY_THE_BROKER),
            body: reply.body.toString(),
          },
        ).toEqual(isReply ? { headers: without(headers, 'allow', ...BY_THE_BROKER), body } : undefined);
      } else {
        expect(dead!.headers).toMatchObject({
          'ce-knativebrokerttl': '254',
          'kn-namespace': 'default',
          'ce-id': 'id-1',
        });
        expect(dead!.headers).not.toHaveProperty('prefer');
        if (!body) return expect(said(dead!)).toEqual({ dest: undefined, code: undefined, text: undefined });
        const recorded = JSON.parse(body) as { errdestination: string; errresponsebody: string };
        const text = local(Buffer.from(recorded.errresponsebody, 'base64').toString());
        expect(said(dead!)).toEqual({
          dest: local(recorded.errdestination),
          code: String(status),
          text: text.replace('dial tcp 127.0.0.1:9199', `dial tcp ${refusing.slice('http://'.length)}`),
        });
      }
    }
  },
);

function recorded({ method, path, headers, body = '' }: NonNullable<Exchange['forwarded']>[number]): Received {
  return { method, path, headers, body: Buffer.from(body), at: 0 };
}

/** The comparable parts of a request. The span of the trace and the time of arrival always differ. */
function shown({ method, path, headers, body }: Received): object {
  const { traceparent = '', 'x-b3-traceid': b3 } = headers;
  const trace = { flags: traceparent.slice(-2), isContinued: traceparent.slice(3, 35) === b3 };
  return {
    method,
    path,
    trace,
    body: body.toString(),
    headers: without(headers, 'traceparent', 'ce-knativearrivaltime'),
  };
}

test.each(KINDS)('$channel: each status of a subscriber has the recorded effect', async ({ channel, version }) => {
  const table = capture<{ status: number; attempts: number; deadLettered: boolean; knativeerrorcode: string | null }[]>(
    version,
    'status-table',
  );
  const delivery = { retry: 2, deadLetterSink: { uri: `${subscriber.url}/dead` } };
  const resources = [
    broker('demo'),
    trigger('all', { broker: 'demo', delivery, subscriber: { uri: `${subscriber.url}/sub` } }),
  ];
  const { url } = await startFor(resources, { channel });
  subscriber.script = ({ path, headers }) => (path === '/sub' ? { status: Number(headers['ce-id']) } : {});
  await Promise.all(
    table.map(({ status }) => {
      const attributes = { id: String(status), source: '/src', type: 't', specversion: '1.0' };
      return send(url, '/default/demo', { headers: Object.entries(attributes).map(([n, v]) => [`ce-${n}`, v]) });
    }),
  );
  await settled(url);
  const of = (path: string, status: number) => subscriber.to(path).filter((it) => it.headers['ce-id'] === `${status}`);
  const found = await differing(
    table.map((it) => ({ name: String(it.status), ...it })),
    async ({ name: _name, ...it }) => {
      const [letter] = of('/dead', it.status);
      expect({
        status: it.status,
        attempts: of('/sub', it.status).length,
        deadLettered: letter !== undefined,
        knativeerrorcode: letter?.headers['ce-knativeerrorcode'] ?? null,
      }).toEqual(it);
    },
  );
  expectDifferences(found, version, 'status-table');
});

interface FilterCase {
  readonly name: string;
  readonly spec: { filter?: Record<string, string>; filters?: object[] };
  readonly eventA: { delivered: boolean };
  readonly eventB: { delivered: boolean };
}

test.each(KINDS)('$channel: filters match the recorded events', async ({ channel, version }) => {
  const { events, results } = capture<{ events: Record<'a' | 'b', Record<string, string>>; results: FilterCase[] }>(
    version,
    'filters',
  );
  const spec = ({ spec: { filter, filters } }: FilterCase, path: number) => ({
    broker: 'demo',
    subscriber: { uri: `${subscriber.url}/${path}` },
    ...(filter && { filter: { attributes: filter } }),
    ...(filters && { filters }),
  });
  const isRefused = (it: FilterCase) => {
    try {
      return readManifests(manifests(broker('demo'), trigger('one', spec(it, 0)))).triggers.length === 0;
    } catch {
      return true;
    }
  };
  const understood = results.map((it) => !isRefused(it));
  const triggers = results.flatMap((it, path) => (understood[path] ? [trigger(`t${path}`, spec(it, path))] : []));
  const { url } = await startFor([broker('demo'), ...triggers], { channel });
  for (const of of Object.values(events))
    expect((await send(url, '/default/demo', { headers: Object.entries(of) })).status).toBe(202);
  await settled(url);
  await wait(20);
  const isDelivered = (path: number, source: string) =>
    subscriber.to(`/${path}`).some((it) => it.headers['ce-source'] === source);
  const found = await differing(
    results.map((it, path) => ({ ...it, path })),
    async ({ path, eventA, eventB }) => {
      expect(understood[path]).toBe(true);
      expect([isDelivered(path, '/src'), isDelivered(path, '/other')]).toEqual([eventA.delivered, eventB.delivered]);
    },
  );
  expectDifferences(found, version, 'filters');
});
