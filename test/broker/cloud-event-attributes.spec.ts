import { HTTP } from '../../src/infrastructure/cloudevents/http-binding.js';
import {
  binary,
  json,
  MINIMAL_EVENT,
  MINIMAL_HEADERS,
  rejectionOf,
  STRUCTURED,
  structured,
} from '../support/cloud-events.js';

/** Each attribute with valid and invalid values. */
const VALUES: [name: string, valid: string[], invalid: string[]][] = [
  ['specversion', ['1.0'], ['', '2.0', '1', '1.0.1', '0.3', '0.9', '01.0', 'v1.0', '1.0,1.0']],
  ['id', ['1', ' ', 'ż', 'a'.repeat(3000)], ['']],
  ['type', ['a', 'Żółw'], ['']],
  ['subject', ['a/b', ' '], ['']],
  [
    'source',
    [
      '/a',
      '#fragment',
      '//authority/path',
      'urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66',
      'mailto:a@example.org',
      '1-555-123-4567',
      'usvc://shop/till',
      'https://u:p@[::1]:8080/a;b=c?d=/?#e',
      'http://[v1.a:b]/',
      '?',
      './1:2',
      'a:',
      '/%C5%BB',
      'file:///etc',
      'x://host:/',
    ],
    [
      '',
      ':invalid',
      '1:2',
      'not a uri',
      '/%zz',
      '/%',
      '/ż',
      '/a|b',
      '//host:port/',
      '//[::1',
      'http://a@b@c/',
      '/a#b#c',
      '<x>',
      '/a\\b',
      '//[g]/',
      'a^b',
    ],
  ],
  [
    'dataschema',
    ['urn:a:b', 'https://example.org/schema.json#/definitions/a'],
    ['', '/rel', 'a', ':invalid', '//h/p', '1a:b', 'a b:c'],
  ],
  [
    'time',
    [
      '2026-01-02T03:04:05Z',
      '2026-01-02t03:04:05.1z',
      '2026-12-31T23:59:59.999999999999+23:59',
      '0000-02-29T00:00:00-00:00',
      '2024-02-29T00:00:00Z',
      '2000-02-29T00:00:00Z',
      '2026-04-30T00:00:00Z',
      '2026-07-31T00:00:00Z',
    ],
    [
      '',
      'lunchtime',
      '2018-04-05T18:31Z',
      '2018-04-05T18:31:00X',
      '2018-04-05T18:31:00+25:00',
      '2018-04-05T18:31:00+xx:00',
      '2018-04-05T18:31:00+05',
      '2026-01-02T03:04:05',
      '2026-01-02 03:04:05Z',
      '2026-01-02T24:00:00Z',
      '2026-01-02T03:60:00Z',
      '2026-01-02T03:04:60Z',
      '2016-12-31T23:59:60Z',
      '2026-13-01T00:00:00Z',
      '2026-00-01T00:00:00Z',
      '2026-01-00T00:00:00Z',
      '2026-01-32T00:00:00Z',
      '2026-02-29T00:00:00Z',
      '2024-02-30T00:00:00Z',
      '1900-02-29T00:00:00Z',
      '2026-04-31T00:00:00Z',
      '2026-06-31T00:00:00Z',
      '2026-09-31T00:00:00Z',
      '2026-11-31T00:00:00Z',
      '2026-01-02T03:04:05.Z',
      '2026-01-02T03:04:05,1Z',
      '20260102T030405Z',
      '2026-01-02',
      '12026-01-02T03:04:05Z',
      '１026-01-02T03:04:05Z',
      '2026-01-02T03:04:05+0100',
      '2026-01-02T03:04:05Z ',
      '2026-01-02T03:04:05+01:60',
      '1767323045',
    ],
  ],
  ['mine', ['', ' ', 'a\u00a0b', '😀', '\u2028', '\ue000'], []],
  ['a1234567890123456789012345678901234567890', ['long names are legal'], []],
];
const ILLEGAL = ['a\0', '\n', 'a\tb', '\x1f', '\x7f', '\x80', '\x9f', '\ufdd0', '\uffff', '\u{1fffe}'];

describe.each(VALUES)('%s', (name, valid, invalid) => {
  it.each(valid)('may be %j', (value) => {
    const event = { ...MINIMAL_EVENT, [name]: value };
    expect(structured(event)).toEqual(event);
    expect(binary(HTTP.binary(event).headers)).toEqual(event);
  });

  it.each([...invalid, ...ILLEGAL.map((it) => `${valid[0]}${it}`), ...ILLEGAL.map((it) => `${it}${valid[0]}`)])(
    'is refused when %j',
    (value) => {
      const event = { ...MINIMAL_EVENT, [name]: value };
      expect(rejectionOf({ 'content-type': STRUCTURED }, json(event)).split(':')[0]).toBe(name);
      // The parser accepts a URI that its sender left unencoded, so an encoded URI would be valid here.
      const isUri = name === 'source' || name === 'dataschema';
      const header = isUri ? { [`ce-${name}`]: Buffer.from(value).toString('latin1') } : {};
      expect(rejectionOf({ ...HTTP.binary(event).headers, ...header }).split(':')[0]).toBe(name);
    },
  );

  it('is refused with a lone surrogate', () => {
    const body = json({ ...MINIMAL_EVENT, [name]: `${valid[0]}\ud83d` });
    expect(rejectionOf({ 'content-type': STRUCTURED }, body).split(':')[0]).toBe(name);
  });
});

describe('A required attribute', () => {
  it.each(['specversion', 'id', 'source', 'type'])('must be present: %s', (name) => {
    const { [name]: _, ...rest }: Record<string, unknown> = MINIMAL_EVENT;
    expect(rejectionOf({ 'content-type': STRUCTURED }, json(rest))).toBe(`${name}: missing`);
    expect(rejectionOf({ 'content-type': STRUCTURED }, json({ ...rest, [name]: null }))).toBe(`${name}: missing`);
    expect(rejectionOf({ ...MINIMAL_HEADERS, [`ce-${name}`]: undefined })).toBe(`${name}: missing`);
  });
});

describe('A content type', () => {
  it.each(['a/b', 'text/html;level=1;q="a; b"', 'A/B ; c=d', 'a/b;', 'x-1/vnd.a+b; p="\\""'])('may be %s', (type) => {
    expect(binary({ ...MINIMAL_HEADERS, 'content-type': type })).toEqual({ ...MINIMAL_EVENT, datacontenttype: type });
    expect(structured({ ...MINIMAL_EVENT, datacontenttype: type })).toEqual({
      ...MINIMAL_EVENT,
      datacontenttype: type,
    });
  });

  const wrong = [
    '',
    'xyz',
    'garbage/',
    '/b',
    'a/b c',
    'a/b; c',
    'a/b; c=',
    'a/b; c="',
    'a/b; c="é"',
    'a/b; c="\n"',
    'a/b, a/c',
    'a/ż',
    'a b/c',
    'a/b\0',
  ];
  const charsets = [
    'application/json; charset=iso-8859-1',
    'text/json;charset="UTF-16"',
    'a/b+json; x=y; CHARSET=us-ascii',
  ];
  it.each([...wrong, ...charsets, `a/b${';c=d'.repeat(300)}`, `a/b${';'.repeat(5_000_000)}^`])(
    'is refused: %.40s',
    (type) => {
      expect(rejectionOf({ ...MINIMAL_HEADERS, 'content-type': type })).toMatch(/^datacontenttype: /);
      expect(rejectionOf({ 'content-type': STRUCTURED }, json({ ...MINIMAL_EVENT, datacontenttype: type }))).toMatch(
        /^datacontenttype: /,
      );
    },
  );
});
