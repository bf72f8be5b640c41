import { MalformedEvent } from '../../src/infrastructure/cloudevents/attributes.js';
import { HTTP } from '../../src/infrastructure/cloudevents/http-binding.js';
import { toEvents } from '../../src/infrastructure/cloudevents/http-parser.js';
import {
  BATCHED,
  binary,
  json,
  MINIMAL_EVENT,
  MINIMAL_HEADERS,
  rejectionOf,
  STRUCTURED,
  structured,
} from '../support/cloud-events.js';

describe('Structured events', () => {
  it.each([
    ['', 'body'],
    ['null', 'body'],
    ['"text"', 'body'],
    ['[]', 'body'],
    ['{"specversion":"1.0"', 'body'],
    [`${JSON.stringify(MINIMAL_EVENT)}{}`, 'body'],
    [`${JSON.stringify(MINIMAL_EVENT)}\0`, 'body'],
    [`\ufeff${JSON.stringify(MINIMAL_EVENT)}`, 'body'],
    [Buffer.from(JSON.stringify({ ...MINIMAL_EVENT, subject: 'é' }), 'latin1'), 'body'],
    [JSON.stringify(MINIMAL_EVENT).replace('{', '{"__proto__":{"polluted":true},'), '__proto__'],
  ])('are refused when the body is %j', (body, fault) => {
    expect(rejectionOf({ 'content-type': STRUCTURED }, Buffer.from(body))).toMatch(new RegExp(`^${fault}: `));
    expect({}).not.toHaveProperty('polluted');
  });

  it.each([
    ['an upper-case name', { MyExtension: 'bad' }, 'MyExtension'],
    ['a dot in a name', { 'my.extension': 'bad' }, 'my.extension'],
    ['an underscore in a name', { my_extension: 'bad' }, 'my_extension'],
    ['no name', { '': 'bad' }, ''],
    ['a fraction', { mine: 1.5 }, 'mine'],
    ['2^31', { mine: 2 ** 31 }, 'mine'],
    ['an object', { mine: {} }, 'mine'],
    ['a list', { mine: ['a'] }, 'mine'],
    ['a number for an id', { id: 25 }, 'id'],
    ['an object for an id', { id: { xyz: 'abc' } }, 'id'],
    ['a number for a version', { specversion: 1.0 }, 'specversion'],
    ['a number for a correlation id', { correlationid: 5 }, 'correlationid'],
    ['data twice', { data: 'text', data_base64: 'dGV4dA==' }, 'data_base64'],
    ['Base64 of an object', { data_base64: {} }, 'data_base64'],
    ...['a', 'YQ', 'YQ=', 'YR==', 'YQ==\n', 'Y Q==', '-_==', '===='].map((it) => [
      it,
      { data_base64: it },
      'data_base64',
    ]),
    ['an object for text', { datacontenttype: 'text/plain', data: {} }, 'data'],
    ['a lone surrogate for text', { datacontenttype: 'text/plain', data: '\ud83d' }, 'data'],
    ['bytes that are no JSON for JSON', { datacontenttype: 'a/b+json', data_base64: 'ew==' }, 'data'],
  ] as [string, object, string][])('are refused with %s', (_, more, fault) => {
    const says = rejectionOf({ 'content-type': STRUCTURED }, json({ ...MINIMAL_EVENT, ...more }));
    expect(says.split(': ')[0]).toBe(fault);
    expect(rejectionOf({ 'content-type': BATCHED }, json([MINIMAL_EVENT, { ...MINIMAL_EVENT, ...more }]))).toBe(
      `event 1 of the batch, ${says}`,
    );
  });

  it('treat constructor and __proto__ as plain names', () => {
    const body = Buffer.from(
      JSON.stringify({ ...MINIMAL_EVENT, constructor: 'a' }).replace('}', ',"data":{"__proto__":{"polluted":1}}}'),
    );
    const [event] = toEvents({ headers: { 'content-type': STRUCTURED }, body });
    expect(event!.constructor).toBe('a');
    expect(event).not.toHaveProperty('data.polluted');
    expect(binary(HTTP.binary(event!).headers, '{}')).toEqual({
      ...MINIMAL_EVENT,
      constructor: 'a',
      datacontenttype: 'application/json',
      data: {},
    });
    expect(HTTP.binary(event!).body).toBe('{"__proto__":{"polluted":1}}');
    expect({}).not.toHaveProperty('polluted');
  });

  it('are refused in one short line of ASCII', () => {
    const says = rejectionOf(
      { 'content-type': STRUCTURED },
      json({ ...MINIMAL_EVENT, [`a\n\u2028é${'x'.repeat(300)}`]: 1 }),
    );
    expect(says).toMatch(/^a\?\?\?x{56}: [ -~]{1,100}$/);
  });

  it('use the last value of a name that occurs twice', () => {
    const body = Buffer.from(JSON.stringify(MINIMAL_EVENT).replace('{', '{"id":"0",'));
    expect(toEvents({ headers: { 'content-type': STRUCTURED }, body })).toEqual([MINIMAL_EVENT]);
  });

  it.each(['null', '{}', '"[]"', '["not an object"]', '[[]]', '[null]'])('are refused in a batch of %s', (body) => {
    expect(() => toEvents({ headers: { 'content-type': BATCHED }, body: Buffer.from(body) })).toThrow(MalformedEvent);
  });

  it('have extensions of all CloudEvents types', () => {
    const body = Buffer.from(JSON.stringify({ ...MINIMAL_EVENT, count: 0 }).replace('"count":0', '"count":-0'));
    expect(toEvents({ headers: { 'content-type': STRUCTURED }, body })).toEqual([{ ...MINIMAL_EVENT, count: 0 }]);
    const event = structured({ ...MINIMAL_EVENT, count: 0, max: 2 ** 31 - 1, min: -(2 ** 31), flag: false });
    expect(HTTP.binary(event).headers).toMatchObject({
      'ce-count': '0',
      'ce-max': '2147483647',
      'ce-min': '-2147483648',
      'ce-flag': 'false',
    });
    expect(HTTP.binary({ ...MINIMAL_EVENT, mine: null, yours: undefined }).headers).toEqual(MINIMAL_HEADERS);
    expect(() => HTTP.binary({ ...MINIMAL_EVENT, mine: {} })).toThrow(/^mine: /);
    expect(() => HTTP.binary({ ...MINIMAL_EVENT, subject: '\ud83d' })).toThrow(/^subject: /);
    expect(() => HTTP.binary({ ...MINIMAL_EVENT, datacontenttype: 'text/plain', data: {} })).toThrow(/^data: /);
  });
});

describe('Data', () => {
  const base64 = (text: string, encoding: BufferEncoding = 'utf8') => ({
    data_base64: Buffer.from(text, encoding).toString('base64'),
  });

  it.each([
    ['application/json', '{"a":[1,null]}', { data: { a: [1, null] } }],
    ['text/json', ' "text" ', { data: 'text' }],
    ['application/vnd.shop.sale+json;charset=UTF-8', 'null', { data: null }],
    ['APPLICATION/JSON; charset="utf8"', '0', { data: 0 }],
    ['application/json', '', {}],
    ['text/plain', 'Żółw\0', { data: 'Żółw\0' }],
    ['text/plain', '\ufeffŻ', { data: '\ufeffŻ' }],
    ['text/plain; charset=iso-8859-1', 'Żółw', base64('Żółw')],
    ['application/xml', '<a/>', { data: '<a/>' }],
    ['image/svg+xml', '<a/>', { data: '<a/>' }],
    ['text/plain', '', {}],
    ['application/octet-stream', 'abc', base64('abc')],
    ['application/jsonl', '{}', base64('{}')],
    [undefined, '{}', base64('{}')],
    [undefined, '', {}],
  ])('of type %s: %j', (type, body, data) => {
    const event = binary({ ...MINIMAL_HEADERS, 'content-type': type }, body);
    expect(event).toEqual({ ...MINIMAL_EVENT, ...(type && { datacontenttype: type }), ...data });
    const again = HTTP.binary(event);
    expect(binary(again.headers, again.body?.toString())).toEqual(event);
    expect(structured(event)).toEqual(event);
    // Base64 in structured mode is kept as the same bytes in binary mode.
    const bytes = { ...MINIMAL_EVENT, datacontenttype: type, data_base64: Buffer.from(body).toString('base64') };
    expect(structured(bytes)).toEqual(event);
  });

  it('of text that is no UTF-8 is kept as bytes', () => {
    const body = Buffer.from('café', 'latin1');
    const [event] = toEvents({ headers: { ...MINIMAL_HEADERS, 'content-type': 'text/plain' }, body });
    expect(event).toEqual({ ...MINIMAL_EVENT, datacontenttype: 'text/plain', ...base64('café', 'latin1') });
    expect(HTTP.binary(event!).body).toEqual(body);
    expect(structured(event!)).toEqual(event);
  });

  it('without a type is JSON in structured mode, and is labelled as JSON in binary mode', () => {
    const event = structured({ ...MINIMAL_EVENT, data: "I'm just a string" });
    expect(event).toEqual({ ...MINIMAL_EVENT, data: "I'm just a string" });
    const { headers, body } = HTTP.binary(event);
    expect(headers['content-type']).toBe('application/json');
    expect(body).toBe(`"I'm just a string"`);
  });

  it.each([
    [
      'text',
      { datacontenttype: 'application/octet-stream', data: 'abc' },
      { datacontenttype: 'application/octet-stream', data_base64: 'YWJj' },
    ],
    ['null that is no JSON', { datacontenttype: 'text/plain', data: null }, { datacontenttype: 'text/plain' }],
    ['null', { data: null }, { data: null }],
    ['null for Base64', { data: 1, data_base64: null }, { data: 1 }],
  ])('in JSON may be %s', (_, sent, kept) => {
    expect(structured({ ...MINIMAL_EVENT, ...sent })).toEqual({ ...MINIMAL_EVENT, ...kept });
  });

  it.each(['{', "'a'", 'text', '{}{}', '{} \0', '\ufeff{}', ' ', 'NaN', '1e400', '[-1e400]', '{"a":01}'])(
    'is refused as JSON: %j',
    (body) => {
      const headers = { ...MINIMAL_HEADERS, 'content-type': 'application/json' };
      expect(rejectionOf(headers, Buffer.from(body))).toMatch(/^data: /);
      expect(
        rejectionOf(
          { 'content-type': STRUCTURED },
          json({ ...MINIMAL_EVENT, datacontenttype: 'a/json', ...base64(body) }),
        ),
      ).toMatch(/^data: /);
    },
  );

  it('is refused as JSON when it is no UTF-8', () => {
    const headers = { ...MINIMAL_HEADERS, 'content-type': 'application/json' };
    expect(rejectionOf(headers, Buffer.from('"é"', 'latin1'))).toBe('data: expected JSON in UTF-8');
  });

  it.each([
    ['[', ']'],
    ['{"a":', '}'],
  ])('may nest 32 levels of %s', (open, close) => {
    const nested = (levels: number) => `${open.repeat(levels)}1${close.repeat(levels)}`;
    const headers = { ...MINIMAL_HEADERS, 'content-type': 'application/json' };
    const event = binary(headers, nested(32));
    expect(HTTP.binary(event).body).toBe(nested(32));
    for (const levels of [33, 50_000]) {
      expect(rejectionOf(headers, Buffer.from(nested(levels)))).toBe('data: nested deeper than 32 levels');
      const body = Buffer.from(`${JSON.stringify(MINIMAL_EVENT).slice(0, -1)},"data":${nested(levels)}}`);
      expect(rejectionOf({ 'content-type': STRUCTURED }, body)).toBe('data: nested deeper than 32 levels');
      expect(() =>
        toEvents({ headers: { 'content-type': BATCHED }, body: Buffer.from(`[${nested(levels)}]`) }),
      ).toThrow(MalformedEvent);
    }
    expect(rejectionOf(headers, Buffer.from(open.repeat(50_000)))).toBe('data: expected JSON in UTF-8');
  });
});
