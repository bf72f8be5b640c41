import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { CloudEvent, emitterFor, Mode, type Binding, type CloudEventV1, type Message } from 'cloudevents';
import { CloudEventsClient, meshTransport } from '../../src/infrastructure/broker/cloudevents-client.js';
import { MalformedEvent } from '../../src/infrastructure/cloudevents/attributes.js';
import { HTTP, toBatch } from '../../src/infrastructure/cloudevents/http-binding.js';
import { BATCHED, MINIMAL_EVENT, MINIMAL_HEADERS, STRUCTURED } from '../support/cloud-events.js';

/** Compiles only while our binding has the interface of the SDK. */
const binding: Binding = HTTP;

const ATTRIBUTES = {
  specversion: '1.0',
  id: 'sdk-1',
  source: '/sdk?a=b',
  type: 'org.example.sold',
  subject: 'Żytnia 32 %',
  // toJSON() of the SDK's class would cut this time.
  time: '2026-03-29T02:30:00.123456789+01:00',
  dataschema: 'urn:shop:schema:sold:1',
  mine: 'an extension',
};
const BYTES = Uint8Array.from([0, 255, 128, 123]);
const BASE64 = Buffer.from(BYTES).toString('base64');

/** The data of an SDK event, and what the binding reads if that differs. */
const CONTENTS: [name: string, sent: object, read?: object][] = [
  ['JSON', { datacontenttype: 'application/json', data: { a: [1, null, 'Ż'] } }],
  ['text', { datacontenttype: 'text/plain', data: 'Żółw' }],
  ['text in a JSON type', { datacontenttype: 'application/json', data: 'Żółw' }],
  [
    'binary data',
    { datacontenttype: 'application/octet-stream', data: BYTES },
    { datacontenttype: 'application/octet-stream', data_base64: BASE64 },
  ],
  ['binary data without a type', { data: BYTES }, { data_base64: BASE64 }],
  ['Base64', { data_base64: BASE64 }],
  [
    'JSON as binary data',
    { datacontenttype: 'application/json', data: Buffer.from('{"a":1}') },
    { datacontenttype: 'application/json', data: { a: 1 } },
  ],
  ['no data', {}],
];

describe.each(['binary', 'structured'] as const)('The HTTP binding in %s mode', (mode) => {
  it.each(CONTENTS)('carries a CloudEvent of the SDK with %s', (_, sent, read = sent) => {
    const message = binding[mode](new CloudEvent({ ...ATTRIBUTES, ...sent }));
    const expected = { ...ATTRIBUTES, ...read };
    expect(binding.isEvent(message)).toBe(true);
    expect(binding.toEvent(message)).toEqual(expected);
    // The SDK's class takes the event back.
    const again = new CloudEvent(binding.toEvent(message) as CloudEventV1<unknown>);
    expect(binding.toEvent(binding[mode](again))).toEqual(expected);
  });
});

describe('The HTTP binding', () => {
  const json = JSON.stringify({ ...MINIMAL_EVENT, data: { a: 1 } });
  const typed = { ...MINIMAL_HEADERS, 'content-type': 'application/json' };

  it.each<[string, Message, unknown]>([
    ['a Buffer', { headers: typed, body: Buffer.from('{"a":1}') }, { a: 1 }],
    ['a Uint8Array', { headers: typed, body: new TextEncoder().encode('{"a":1}') }, { a: 1 }],
    ['a string', { headers: typed, body: '{"a":1}' }, { a: 1 }],
    ['a parsed object', { headers: typed, body: { a: 1 } }, { a: 1 }],
    ['a structured Buffer', { headers: { 'Content-Type': STRUCTURED }, body: Buffer.from(json) }, { a: 1 }],
    ['a structured string', { headers: { 'Content-Type': STRUCTURED }, body: json }, { a: 1 }],
    ['a structured parsed object', { headers: { 'Content-Type': STRUCTURED }, body: JSON.parse(json) }, { a: 1 }],
    ['no body', { headers: MINIMAL_HEADERS, body: undefined }, undefined],
  ])('reads %s', (_, message, data) => {
    expect(binding.isEvent(message)).toBe(true);
    expect((binding.toEvent(message) as CloudEventV1<unknown>).data).toEqual(data);
  });

  it.each([0, 1, 2])('reads a batch of %d events as a list', (count) => {
    const events = Array.from({ length: count }, (_, n) => ({ ...MINIMAL_EVENT, id: String(n) }));
    const { headers, body } = toBatch(events);
    for (const it of [body, Buffer.from(body), events]) {
      expect(binding.isEvent({ headers, body: it })).toBe(true);
      expect(binding.toEvent({ headers, body: it })).toEqual(events);
    }
  });

  it.each<[string, Message]>([
    ['no event', { headers: { 'content-type': 'application/json' }, body: '{}' }],
    ['version 2.0', { headers: { ...MINIMAL_HEADERS, 'ce-specversion': '2.0' }, body: '' }],
    ['broken JSON', { headers: { 'content-type': STRUCTURED }, body: '{' }],
    ['a batch of no events', { headers: { 'content-type': BATCHED }, body: [{}] }],
  ])('refuses %s', (_, message) => {
    expect(binding.isEvent(message)).toBe(false);
    expect(() => binding.toEvent(message)).toThrow(MalformedEvent);
  });
});

describe('An emitter of the SDK', () => {
  const client = new CloudEventsClient({ timeoutMs: 20_000 });
  const received: { headers: IncomingHttpHeaders; body: Buffer }[] = [];
  let server: Server;
  let url: string;
  let status = 202;

  beforeAll(async () => {
    server = createServer((request, response) => {
      void buffer(request).then((body) => {
        received.push({ headers: request.headers, body });
        response.writeHead(status).end(status === 202 ? '' : 'out of order');
      });
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/cabs/default`;
  });
  beforeEach(() => {
    received.length = 0;
    status = 202;
  });
  afterAll(async () => {
    await client.close();
    server.close();
  });

  it.each([Mode.BINARY, Mode.STRUCTURED])('posts over our client in %s mode', async (mode) => {
    const emit = emitterFor(meshTransport(client, url), { binding: HTTP, mode });
    const event = new CloudEvent({ ...ATTRIBUTES, datacontenttype: 'text/plain', data: 'Żółw' });
    expect(await emit(event)).toMatchObject({ status: 202 });
    expect(received).toHaveLength(1);
    expect(received[0]!.headers['content-type']).toBe(mode === Mode.BINARY ? 'text/plain' : STRUCTURED);
    expect(HTTP.toEvent(received[0]!)).toEqual({ ...ATTRIBUTES, datacontenttype: 'text/plain', data: 'Żółw' });
  });

  it('rejects when the receiver answers 500', async () => {
    status = 500;
    const emit = emitterFor(meshTransport(client, url), { binding: HTTP });
    await expect(emit(new CloudEvent(ATTRIBUTES))).rejects.toThrow(`${url} answered 500: out of order`);
    expect(received).toHaveLength(1);
  });
});
