import type { CloudEvent } from './cloud-event.js';

/** An event breaks CloudEvents 1.0. The message is one line of less than 200 characters: the attribute, then the problem. */
export class MalformedEvent extends Error {
  constructor(
    readonly fault: string,
    readonly problem: string,
  ) {
    super(`${fault.slice(0, 60).replace(/[^\x20-\x7e]/g, '?')}: ${problem}`);
  }
}

/**
 * Longest attribute that is used as a key or passed on, in bytes; CloudEvents has no limit. An index row of PostgreSQL must
 * hold it (2.7 kB). A sent event has the subject twice, the correlation id and the id of the cause: percent-encoded, they
 * must fit into the 16 kB of headers that Node reads.
 */
export const MAX_NAME_BYTES = 1000;

/** Whether these names together are at most `MAX_NAME_BYTES` long. */
export function isWithinNameLimit(...names: string[]): boolean {
  return names.reduce((sum, name) => sum + Buffer.byteLength(name), 0) <= MAX_NAME_BYTES;
}

/** Characters that no attribute may hold: controls, lone surrogates, noncharacters (CloudEvents 1.0, type system). */
const FORBIDDEN = /[\p{Cc}\p{Cs}\p{Noncharacter_Code_Point}]/u;
const NAME = /^[a-z0-9]+$/;

const RFC_3339 =
  /^\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d+)?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)$/i;

const QDTEXT = '[^"\\\\\\x00-\\x1f\\x7f-\\uffff]';
const TOKEN = "[!#$%&'*+.^_`|~\\w-]+";
/** RFC 2046 as HTTP writes it; parameters in ASCII, as the header has to carry them. */
const MEDIA_TYPE = new RegExp(
  `^(${TOKEN}/${TOKEN})[ \\t]*(?:;[ \\t]*(?:${TOKEN}=(?:${TOKEN}|"${QDTEXT}*(?:\\\\[\\x20-\\x7e]${QDTEXT}*)*")[ \\t]*)?)*$`,
);
const MEDIA_TYPE_LENGTH = 1000;
const CHARSET = /;[ \t]*charset="?([^;" \t]*)/i;

/* RFC 3986. The percent sign is checked separately, so that the expression never backtracks. */
const UNIT = "\\w.~!$&'()*+,;=%-";
const AUTHORITY = `(?:[${UNIT}:]*@)?(?:\\[[0-9a-f:.]+\\]|\\[v[0-9a-f]+\\.[${UNIT}:]+\\]|[${UNIT}]*)(?::\\d*)?(?=[/?#]|$)`;
const URI_REFERENCE = new RegExp(
  `^(?:[a-z][a-z0-9+.-]*:|(?![^/?#]*:))(?://${AUTHORITY}|(?!//))[${UNIT}:@/]*(?:\\?[${UNIT}:@/?]*)?(?:#[${UNIT}:@/?]*)?$`,
  'i',
);
const SCHEME = /^[a-z][a-z0-9+.-]*:/i;
const BROKEN_PERCENT = /%(?![0-9a-f]{2})/i;

interface Rule {
  readonly expected: string;
  holds(value: string): boolean;
}

const TEXT: Rule = { expected: 'a string', holds: () => true };
const SOME_TEXT: Rule = { expected: 'a string that is not empty', holds: (value) => value !== '' };

/** The attributes that must be strings, the extensions of the mesh included. */
const RULES = new Map<string, Rule>([
  ['specversion', { expected: '1.0', holds: (value) => value === '1.0' }],
  ['id', SOME_TEXT],
  ['source', { expected: 'a URI reference', holds: (value) => value !== '' && isUriReference(value) }],
  ['type', SOME_TEXT],
  ['subject', SOME_TEXT],
  ['time', { expected: 'RFC 3339', holds: isTimestamp }],
  ['datacontenttype', { expected: 'a media type, JSON in UTF-8', holds: (value) => formatOf(value) !== undefined }],
  // RFC 3986 allows no fragment in an absolute URI, but schemas use one, and other SDKs accept it.
  ['dataschema', { expected: 'an absolute URI', holds: (value) => SCHEME.test(value) && isUriReference(value) }],
  ...['correlationid', 'causationid', 'partitionkey', 'traceparent'].map((name): [string, Rule] => [name, TEXT]),
]);

/** The attributes of CloudEvents 1.0, and the extensions that the mesh sets itself. */
export const ATTRIBUTE_NAMES: readonly string[] = [...RULES.keys()];

/** Names that are no extensions of others. */
const OWN_NAMES = [...ATTRIBUTE_NAMES, 'data'];

/** @throws MalformedEvent when a name or value is no extension, or would replace something of an event */
export function assertExtensions(extensions: Readonly<Record<string, unknown>>): void {
  for (const [name, value] of Object.entries(extensions)) {
    if (OWN_NAMES.includes(name)) throw new MalformedEvent(name, 'each event has its own');
    checkAttribute(name, value);
  }
}

const REQUIRED = ['specversion', 'id', 'source', 'type'];

/**
 * The value of an attribute, checked; undefined when it is unset.
 * @throws MalformedEvent when CloudEvents 1.0 has no such attribute or no such value
 */
export function checkAttribute(name: string, value: unknown): string | number | boolean | undefined {
  // The specification reserves `data`.
  if (!NAME.test(name) || name === 'data') throw new MalformedEvent(name, 'expected a name of a-z and 0-9');
  if (value === null || value === undefined) return undefined;
  const rule = RULES.get(name);
  if (typeof value === 'string') {
    if (!isText(value)) throw new MalformedEvent(name, 'expected no control characters, only Unicode text');
    if (rule && !rule.holds(value)) throw new MalformedEvent(name, `expected ${rule.expected}`);
    return value;
  }
  if (rule) throw new MalformedEvent(name, `expected ${rule.expected}`);
  if (typeof value === 'boolean') return value;
  if (typeof value === 'number' && value === (value | 0)) return value | 0;
  throw new MalformedEvent(name, 'expected a string, a boolean or an integer of 32 bits');
}

/** @throws MalformedEvent when a required attribute is missing */
export function checkComplete(attributes: Record<string, unknown>): CloudEvent {
  for (const name of REQUIRED) {
    if (!Object.hasOwn(attributes, name)) throw new MalformedEvent(name, 'missing');
  }
  return attributes as CloudEvent;
}

/** Whether CloudEvents allows this string as an attribute value: no forbidden characters. */
export function isText(value: string): boolean {
  return !FORBIDDEN.test(value);
}

/** Whether the attribute holds a URI, and the value is a valid one. */
export function isPossibleUri(name: string, value: string): boolean {
  return (name === 'source' || name === 'dataschema') && RULES.get(name)!.holds(value);
}

/**
 * How data of a media type is kept: parsed, as a string (text in UTF-8), or as Base64.
 * @returns undefined for what isn't a media type, and for JSON that claims another charset than UTF-8
 */
export function formatOf(mediaType: string): 'json' | 'text' | 'bytes' | undefined {
  if (mediaType === 'application/json') return 'json';
  // The regular expression uses some stack for each parameter.
  if (mediaType.length > MEDIA_TYPE_LENGTH) return undefined;
  const essence = MEDIA_TYPE.exec(mediaType)?.[1]?.toLowerCase();
  if (essence === undefined) return undefined;
  const isUnicode = /^utf-?8$/i.test(CHARSET.exec(mediaType)?.[1] ?? 'utf-8');
  if (/[/+]json$/.test(essence)) return isUnicode ? 'json' : undefined;
  return isUnicode && /^text\/|[/+]xml$/.test(essence) ? 'text' : 'bytes';
}

function isUriReference(value: string): boolean {
  return URI_REFERENCE.test(value) && !BROKEN_PERCENT.test(value);
}

/** RFC 3339, on a day that exists, without leap seconds: neither JavaScript nor Go reads them. */
function isTimestamp(value: string): boolean {
  if (!RFC_3339.test(value)) return false;
  const day = Number(value.slice(8, 10));
  if (day <= 28) return true;
  const [year, month] = [Number(value.slice(0, 4)), Number(value.slice(5, 7))];
  if (month !== 2) return day <= 30 || ![4, 6, 9, 11].includes(month);
  return day === 29 && year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0);
}
