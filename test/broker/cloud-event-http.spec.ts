import type { CloudEvent } from '../../src/infrastructure/cloudevents/cloud-event.js';
import { HTTP, toBatch } from '../../src/infrastructure/cloudevents/http-binding.js';
import { toEvents } from '../../src/infrastructure/cloudevents/http-parser.js';
import {
  BATCHED,
  binary,
  FULL,
  headersOf,
  json,
  MINIMAL_EVENT,
  MINIMAL_HEADERS,
  rejectionOf,
  STRUCTURED,
  structured,
} from '../support/cloud-events.js';

describe('The public conformance cases pass', () => {
  const attributes = {
    specversion: '1.0',
    type: 'com.example.someevent',
    time: '2018-04-05T03:56:24Z',
    id: '1234-1234-1234',
    source: '/mycontext/subcontext',
  };

  it.each(['application/json', 'application/json; charset=utf-8'])('in binary mode with %s', (type) => {
    const event = binary({ ...headersOf(attributes), 'Content-Type': type }, '{\n  "message": "Hello World!"\n}');
    expect(event).toEqual({ ...attributes, datacontenttype: type, data: { message: 'Hello World!' } });
  });

  it.each([STRUCTURED, `${STRUCTURED}; charset=utf-8`])('in structured mode with %s', (type) => {
    const event = { ...attributes, datacontenttype: 'application/json', data: { message: 'Hello World!' } };
    expect(toEvents({ headers: { 'Content-Type': type }, body: json(event) })).toEqual([event]);
  });

  it.each([
    ['required attributes only', {}],
    ['all core attributes', { datacontenttype: 'text/plain', dataschema: 'https://example.org/s', subject: 'tests' }],
    ['text', { datacontenttype: 'text/plain', data: 'Simple text' }],
    ['a fragment as source', { source: '#fragment' }],
    ['nanoseconds', { time: '2018-04-05T17:31:00.000000000Z' }],
    ['an offset east', { time: '2018-04-05T18:31:00+01:00' }],
    ['an offset west', { time: '2018-04-05T16:31:00-01:00' }],
    ['integer, boolean and URI extensions', { count: 10, flag: true, uri: '//authority/path', bytes: 'TWE=' }],
  ])('in JSON with %s', (_, more) => {
    expect(structured({ ...MINIMAL_EVENT, ...more })).toEqual({ ...MINIMAL_EVENT, ...more });
    expect(
      toEvents({ headers: { 'content-type': BATCHED }, body: json([MINIMAL_EVENT, { ...MINIMAL_EVENT, ...more }]) }),
    ).toHaveLength(2);
  });

  it('with null as an absent attribute', () => {
    expect(
      structured({ ...MINIMAL_EVENT, datacontenttype: null, dataschema: null, subject: null, time: null, mine: null }),
    ).toEqual(MINIMAL_EVENT);
  });
});

describe('Headers', () => {
  it.each([
    ['Euro € 😀', 'Euro%20%E2%82%AC%20%F0%9F%98%80'],
    ['Żytnia 32 %', '%C5%BBytnia%2032%20%25'],
    ['say "hi"', 'say%20%22hi%22'],
    ["!#$&'()*+,-./09:;<=>?@AZ[\\]^_`az{|}~", "!#$&'()*+,-./09:;<=>?@AZ[\\]^_`az{|}~"],
    ['\u00a0à', '%C2%A0%C3%A0'],
  ])('carry %s', (subject, header) => {
    expect(HTTP.binary({ ...MINIMAL_EVENT, subject }).headers['ce-subject']).toBe(header);
    expect(binary({ ...MINIMAL_HEADERS, 'ce-subject': header })).toEqual({ ...MINIMAL_EVENT, subject });
  });

  it.each([
    ['no encoding', 'a b {"c"}', 'a b {"c"}'],
    ['unnecessary encoding', '%41%c5%bb', 'AŻ'],
    ['an encoded percent sign', '%2541', '%41'],
    ['a quoted string', '"say \\"hi\\" %E2%82%AC, a\\b"', 'say "hi" €, ab'],
    ['an unclosed quote', '"open', '"open'],
    ['raw UTF-8', Buffer.from('Żytnia à').toString('latin1'), 'Żytnia à'],
    ['Latin-1', 'caf\xe9', 'café'],
    ['more than Latin-1', 'ŻÅ»', 'ŻÅ»'],
    ['raw UTF-8 in quotes, some of it encoded', `"${Buffer.from('Ż').toString('latin1')}%C5%BB"`, 'ŻŻ'],
  ])('are read with %s', (_, header, subject) => {
    expect(binary({ ...MINIMAL_HEADERS, 'ce-subject': header })).toEqual({ ...MINIMAL_EVENT, subject });
  });

  it.each(['%', '%4', '%zz', '100 %', '%C0%A0', '%ED%A0%80', '%FF', '%E2%82', '%F5%80%80%80', '"%C5"'])(
    'are refused with a subject of %s',
    (subject) => {
      expect(rejectionOf({ ...MINIMAL_HEADERS, 'ce-subject': subject })).toBe(
        'subject: expected percent-encoded UTF-8',
      );
    },
  );

  it('have names in any case', () => {
    expect(
      binary({ 'Ce-SpecVersion': '1.0', 'CE-ID': '1', 'ce-source': '/shop', 'Ce-Type': 'org.example.sold' }),
    ).toEqual(MINIMAL_EVENT);
  });

  it.each([
    ['a list', { 'ce-id': ['1', '2'] }, /^id: /],
    ['two spellings', { 'Ce-Id': '1' }, /^id: /],
    ['two content types', { 'content-type': ['text/plain', 'text/html'] }, /^content-type: /],
    ['ce-datacontenttype', { 'ce-datacontenttype': 'text/plain' }, /^datacontenttype: /],
    ['an attribute called data', { 'ce-data': '1' }, /^data: /],
    ['data_base64', { 'ce-data_base64': 'AA==' }, /^data_base64: /],
    ['a hyphen', { 'ce-my-own': '1' }, /^my-own: /],
    ['no name', { 'ce-': '1' }, /^: /],
    ['a prototype', { 'ce-__proto__': '1' }, /^__proto__: /],
  ])('are refused with %s', (_, more, says) => {
    expect(rejectionOf({ ...MINIMAL_HEADERS, ...more })).toMatch(says);
  });

  it('may be lists of one value, as in headersDistinct', () => {
    const lists = Object.fromEntries(Object.entries(HTTP.binary(FULL).headers).map(([name, value]) => [name, [value]]));
    expect(toEvents({ headers: { ...lists, host: ['a', 'b'], 'ce-not': undefined }, body: json(FULL.data) })).toEqual([
      FULL,
    ]);
  });

  it('may carry a URI that its sender left unencoded, as Knative does', () => {
    expect(binary({ ...MINIMAL_HEADERS, 'ce-source': '/not%20a%20uri/%C5%BB' })).toMatchObject({
      source: '/not%20a%20uri/%C5%BB',
    });
    expect(rejectionOf({ ...MINIMAL_HEADERS, 'ce-source': '/a%00' })).toMatch(/^source: /);
    const source = '/not%20a%20uri';
    expect(HTTP.binary({ ...MINIMAL_EVENT, source }).headers['ce-source']).toBe('/not%2520a%2520uri');
    expect(binary({ ...MINIMAL_HEADERS, 'ce-source': '/not%2520a%2520uri' })).toMatchObject({ source });
  });

  it('of an event that Knative delivers are read', () => {
    const headers = {
      host: '127.0.0.1:9100',
      'user-agent': 'Go-http-client/1.1',
      'content-length': '7',
      'ce-id': 'id-1',
      'ce-knativearrivaltime': '2026-01-01T00:00:00.000000001Z',
      'ce-source': '/src',
      'ce-specversion': '1.0',
      'ce-type': 'com.example.a',
      'content-type': 'application/json',
      'kn-namespace': 'default',
      prefer: 'reply',
      traceparent: '00-eed70d93f70d8e8070f1e50206f1ea80-2d70d120e104c735-00',
      'accept-encoding': 'gzip',
    };
    expect(binary(headers, '{"a":1}')).toEqual({
      id: 'id-1',
      knativearrivaltime: '2026-01-01T00:00:00.000000001Z',
      source: '/src',
      specversion: '1.0',
      type: 'com.example.a',
      datacontenttype: 'application/json',
      data: { a: 1 },
    });
  });
});

describe('Modes', () => {
  it('are binary, structured and batched, and carry the same event', () => {
    const { headers, body } = HTTP.binary(FULL);
    expect(headers).toEqual({
      ...headersOf(MINIMAL_EVENT),
      'ce-subject': '%C5%BBytnia%2032%20%25',
      'ce-time': FULL.time,
      'ce-dataschema': FULL.dataschema,
      'ce-correlationid': 'c-1',
      'ce-traceparent': FULL.traceparent,
      'ce-empty': '',
      'content-type': 'application/json',
    });
    expect(toEvents({ headers, body: Buffer.from(body!) })).toEqual([FULL]);
    const one = HTTP.structured(FULL);
    expect(one.headers).toEqual({ 'content-type': STRUCTURED });
    expect(toEvents({ ...one, body: Buffer.from(one.body) })).toEqual([FULL]);
    const batch = toBatch([FULL, MINIMAL_EVENT]);
    expect(toEvents({ ...batch, body: Buffer.from(batch.body) })).toEqual([FULL, MINIMAL_EVENT]);
    expect(toEvents({ ...toBatch([]), body: Buffer.from('[]') })).toEqual([]);
  });

  it('are chosen by the content type alone: attributes in headers beside a structured event are ignored', () => {
    const headers = {
      'ce-id': ['2', '3'],
      'ce-specversion': '2.0',
      'Content-type': 'Application/CloudEvents+JSON ; charset="UTF-8"',
    };
    expect(toEvents({ headers, body: json(MINIMAL_EVENT) })).toEqual([MINIMAL_EVENT]);
  });

  it('fall back to structured for an event within an event', () => {
    const event: CloudEvent = {
      ...MINIMAL_EVENT,
      datacontenttype: 'Application/CloudEvents+JSON',
      data: MINIMAL_EVENT,
    };
    const { headers, body } = HTTP.binary(event);
    expect(headers).toEqual({ 'content-type': STRUCTURED });
    expect(toEvents({ headers, body: Buffer.from(body!) })).toEqual([event]);
  });

  it.each([
    ['no headers', {}, 'headers: not a CloudEvent'],
    ['a form', { 'content-type': 'application/x-www-form-urlencoded' }, 'headers: not a CloudEvent'],
    ['Avro', { ...MINIMAL_HEADERS, 'content-type': 'application/cloudevents+avro' }, 'content-type: '],
    ['no format', { ...MINIMAL_HEADERS, 'content-type': 'application/cloudevents' }, 'content-type: '],
    ['another charset', { 'content-type': `${STRUCTURED}; charset=iso-8859-1` }, 'content-type: '],
    ['a media type followed by NUL', { 'content-type': `${STRUCTURED};\u0000` }, 'content-type: '],
  ])('are refused for %s', (_, headers, says) => {
    expect(rejectionOf(headers, json(MINIMAL_EVENT))).toMatch(new RegExp(`^${says}`));
  });
});
