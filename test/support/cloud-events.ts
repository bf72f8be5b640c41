import fc from 'fast-check';
import type { CloudEvent } from '../../src/infrastructure/cloudevents/cloud-event.js';
import { MalformedEvent } from '../../src/infrastructure/cloudevents/attributes.js';
import { toEvents } from '../../src/infrastructure/cloudevents/http-parser.js';

export const STRUCTURED = 'application/cloudevents+json';
export const BATCHED = 'application/cloudevents-batch+json';

/** An event with the required attributes only. */
export const MINIMAL_EVENT = { specversion: '1.0', id: '1', source: '/shop', type: 'org.example.sold' } as const;
export const MINIMAL_HEADERS = headersOf(MINIMAL_EVENT);
export const FULL: CloudEvent = {
  ...MINIMAL_EVENT,
  subject: 'Żytnia 32 %',
  time: '2026-03-29T02:30:00.123456789+01:00',
  dataschema: 'urn:shop:schema:sold:1',
  correlationid: 'c-1',
  traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
  empty: '',
  datacontenttype: 'application/json',
  data: { name: 'Żółw', price: 5100, tags: ['a', null, true] },
};

export function headersOf(attributes: object): Record<string, string> {
  return Object.fromEntries(Object.entries(attributes).map(([name, value]) => [`ce-${name}`, String(value)]));
}

export function json(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value));
}

export function binary(headers: Record<string, string | string[] | undefined>, body = ''): CloudEvent {
  return toEvents({ headers, body: Buffer.from(body) })[0]!;
}

export function structured(event: object): CloudEvent {
  return toEvents({ headers: { 'content-type': STRUCTURED }, body: json(event) })[0]!;
}

export function rejectionOf(
  headers: Record<string, string | string[] | undefined>,
  body: Buffer = Buffer.alloc(0),
): string {
  try {
    toEvents({ headers, body });
  } catch (error) {
    expect(error).toBeInstanceOf(MalformedEvent);
    return (error as Error).message;
  }
  throw new Error('The request was accepted');
}

/** Values of an attribute of type String. */
const text = fc
  .oneof(
    fc.string({ unit: 'binary' }),
    fc.string({ unit: 'grapheme' }),
    fc.constantFrom('Żytnia 32 %', '"', '%41', ' '),
  )
  .map((it) => it.replace(/[\p{Cc}\p{Cs}\p{Noncharacter_Code_Point}]/gu, ''));
const someText = text.filter((it) => it !== '');
const uri = fc.webUrl({ withFragments: true, withQueryParameters: true });
const time = fc
  .tuple(
    fc.date({ noInvalidDate: true, min: new Date('0001-01-02'), max: new Date('9999-12-30') }),
    fc.constantFrom('Z', '+05:45', '-23:59'),
  )
  .map(([date, zone]) => date.toISOString().replace('Z', zone));
const extension = fc.oneof(text, fc.boolean(), fc.integer()).filter((it) => !Object.is(it, -0));
const names = fc
  .stringMatching(/^[a-z0-9]{1,20}$/)
  .filter((it) => !/^(id|data|type|time|source|subject|specversion|data.+)$/.test(it));

/** JSON values that are the same after they were written and read. */
const jsonValue = fc.jsonValue({ depthSize: 'medium' }).map((it) => JSON.parse(JSON.stringify(it)) as unknown);

const content = fc.oneof(
  fc.constant({}),
  fc.record({ data: jsonValue }),
  fc.record({
    datacontenttype: fc.constantFrom('application/json', 'text/json; charset=utf-8', 'a/b+json'),
    data: jsonValue,
  }),
  fc.record({ datacontenttype: fc.constantFrom('text/plain', 'application/xml', 'image/svg+xml'), data: someText }),
  fc
    .record({ datacontenttype: fc.constantFrom('image/png', undefined), bytes: fc.uint8Array({ minLength: 1 }) })
    .map(({ datacontenttype, bytes }) => ({
      ...(datacontenttype && { datacontenttype }),
      data_base64: Buffer.from(bytes).toString('base64'),
    })),
);

/** Any valid event, in the form in which it is stored. */
export const anyEvent = fc
  .tuple(
    fc.record(
      {
        id: someText,
        source: fc.oneof(uri, fc.constantFrom('/a', '#%20', 'urn:x:y')),
        type: someText,
        subject: someText,
        time,
        dataschema: uri,
      },
      { requiredKeys: ['id', 'source', 'type'] },
    ),
    fc.dictionary(names, extension, { maxKeys: 4 }),
    content,
  )
  .map(
    (parts): CloudEvent =>
      Object.assign({ specversion: '1.0' as const, id: '', source: '', type: '' }, ...parts) as CloudEvent,
  );

/** The event as it is after binary mode: attributes are strings, and data without a content type is declared as JSON. */
export function throughHeaders(event: CloudEvent): object {
  const strings = Object.entries(event).map(([name, value]) => [name, name === 'data' ? value : String(value)]);
  return { ...(event.data !== undefined && { datacontenttype: 'application/json' }), ...Object.fromEntries(strings) };
}
