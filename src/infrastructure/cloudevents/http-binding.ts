import { isUtf8 } from 'node:buffer';
import type { CloudEvent } from './cloud-event.js';
import { checkAttribute, checkComplete, formatOf, isPossibleUri, isText, MalformedEvent } from './attributes.js';

/*
 * CloudEvents 1.0 over HTTP (HTTP protocol binding 1.0.2, JSON event format 1.0.2). Why not by the `cloudevents`
 * package, version 10: it sends headers unencoded and reads them undecoded, takes 2.0 for a version and now for a bad
 * time, cuts a good one to milliseconds, and gives the bytes of a body back unread. Doing around it what it leaves out
 * would be this file and more, and by itself it takes seven times as long to write a message as this file does, three
 * times to read one, and 65 ms to load. The tests keep it as the peer that we have to get along with.
 */

export { MalformedEvent };

/** A request or response as Node has it, with header names in any case. `headersDistinct` shows repeated headers. */
export interface HttpMessage {
  readonly headers: Record<string, string | string[] | undefined>;
  readonly body: Buffer;
}

/** What is to be sent. A string goes out as UTF-8. */
export interface OutgoingMessage<Body = Buffer | string | undefined> {
  readonly headers: Record<string, string>;
  readonly body: Body;
}

const STRUCTURED = 'application/cloudevents+json';
const BATCHED = 'application/cloudevents-batch+json';

/** Media types that say how an event is written, not what its data is. */
const CLOUD_EVENTS = /^application\/cloudevents/i;

/** Deepest nesting of data; whoever looks at it uses some stack for each level. */
const DATA_DEPTH = 32;

/** What a header can carry as it is; space, double quote, percent and everything else is encoded (3.1.3.2). */
const PLAIN = /^[\x21\x23\x24\x26-\x7e]*$/;
const NOT_PLAIN = /[^\x21\x23\x24\x26-\x7e]+/g;
/** RFC 7230, section 3.2.6. */
const QUOTED = /^"([^"\\]*(?:\\.[^"\\]*)*)"$/s;

/**
 * Never fails for an event that `fromHttp` has made. Data without a `datacontenttype` is JSON, and says so from now on.
 * @throws MalformedEvent when an attribute can't be sent, or data isn't what `datacontenttype` says
 */
export function toHttp(event: CloudEvent, mode: 'binary' | 'structured' = 'binary'): OutgoingMessage {
  // As the content type of binary mode, that of an event within the event would announce another mode.
  const isStructured = mode === 'structured' || CLOUD_EVENTS.test(event.datacontenttype ?? '');
  if (isStructured) return { headers: { 'content-type': STRUCTURED }, body: JSON.stringify(event) };
  const headers: Record<string, string> = {};
  for (const name of Object.keys(event)) {
    if (name === 'data' || name === 'data_base64' || name === 'datacontenttype') continue;
    const value = event[name];
    if (value !== undefined && value !== null) headers[`ce-${name}`] = encode(name, value);
  }
  const { data, data_base64: base64, datacontenttype } = event;
  const contentType = datacontenttype ?? (data === undefined ? undefined : 'application/json');
  if (contentType !== undefined) headers['content-type'] = contentType;
  if (typeof base64 === 'string') return { headers, body: Buffer.from(base64, 'base64') };
  if (data === undefined) return { headers, body: undefined };
  if (formatOf(contentType!) === 'json') return { headers, body: JSON.stringify(data) };
  if (typeof data === 'string') return { headers, body: data };
  throw new MalformedEvent('data', 'expected a string, as it is not JSON');
}

/** Several events in one message, or none. Knative takes no batches; send them only to who asked for it. */
export function batchToHttp(events: readonly CloudEvent[]): OutgoingMessage<string> {
  return { headers: { 'content-type': BATCHED }, body: JSON.stringify(events) };
}

/**
 * The event of a message, or those of a batch, which may be empty. Attributes of others are kept, as strings in binary
 * mode. Data is kept the same way whichever mode it came in: parsed when it's JSON, a string when it's text or XML in
 * UTF-8, else Base64; no bytes are no data. Of a name that a JSON object has twice the last one counts, as with
 * `JSON.parse` and in Knative; a byte order mark is no JSON, as there. Numbers are doubles.
 * @throws MalformedEvent and nothing else
 */
export function fromHttp({ headers, body }: HttpMessage): CloudEvent[] {
  const attributes: [name: string, value: string][] = [];
  let contentType: string | undefined;
  for (const header of Object.keys(headers)) {
    const name = header.toLowerCase();
    if (name !== 'content-type' && !name.startsWith('ce-')) continue;
    const value = headers[header];
    if (value === undefined) continue;
    if (name === 'content-type') contentType = single(name, value);
    else attributes.push([name.slice(3), value as string]);
  }
  const mediaType = contentType?.split(';', 1)[0]!.trim().toLowerCase() ?? '';
  if (!CLOUD_EVENTS.test(mediaType)) return [fromBinary(attributes, contentType, body)];
  if ((mediaType !== STRUCTURED && mediaType !== BATCHED) || formatOf(contentType!) !== 'json') {
    throw new MalformedEvent('content-type', `expected ${STRUCTURED} or ${BATCHED}, in UTF-8`);
  }
  const json = parse('body', body);
  if (mediaType === STRUCTURED) return [fromJson(json)];
  if (!Array.isArray(json)) throw new MalformedEvent('body', 'expected a JSON array');
  return json.map((it, index) => {
    try {
      return fromJson(it);
    } catch (error) {
      const { fault, problem } = error as MalformedEvent;
      throw new MalformedEvent(`event ${index} of the batch, ${fault}`, problem);
    }
  });
}

function fromBinary(attributes: [string, string][], contentType: string | undefined, body: Buffer): CloudEvent {
  if (attributes.length === 0) throw new MalformedEvent('headers', 'not a CloudEvent');
  const event: Record<string, unknown> = {};
  for (const [name, value] of attributes) {
    if (name === 'datacontenttype') throw new MalformedEvent(name, 'expected as content-type');
    if (Object.hasOwn(event, name)) throw new MalformedEvent(name, 'expected once');
    event[name] = fromHeader(name, single(name, value));
  }
  if (contentType !== undefined) event.datacontenttype = checkAttribute('datacontenttype', contentType);
  return keepBytes(checkComplete(event), body);
}

function fromJson(json: unknown): CloudEvent {
  if (typeof json !== 'object' || json === null || Array.isArray(json)) {
    throw new MalformedEvent('body', 'expected a JSON object');
  }
  const attributes: Record<string, unknown> = {};
  const members = json as Record<string, unknown>;
  for (const name of Object.keys(members)) {
    if (name === 'data' || name === 'data_base64') continue;
    const value = checkAttribute(name, members[name]);
    if (value !== undefined) attributes[name] = value;
  }
  const event = checkComplete(attributes);
  const { data, data_base64: base64 } = members;
  if (base64 !== undefined && base64 !== null) {
    if (data !== undefined) throw new MalformedEvent('data_base64', 'expected without data');
    const bytes = Buffer.from(typeof base64 === 'string' ? base64 : '', 'base64');
    if (bytes.toString('base64') !== base64) throw new MalformedEvent('data_base64', 'expected Base64');
    return keepBytes(event, bytes);
  }
  if (data === undefined) return event;
  if (formatOf(event.datacontenttype ?? 'application/json') === 'json') return keep(event, 'data', checkJson(data));
  if (data === null) return event;
  if (typeof data !== 'string' || /\p{Cs}/u.test(data)) throw new MalformedEvent('data', 'expected Unicode text');
  return keepBytes(event, Buffer.from(data));
}

function keepBytes(event: CloudEvent, bytes: Buffer): CloudEvent {
  if (bytes.length === 0) return event;
  // Without a content type nothing is implied in binary mode: bytes are bytes.
  const format = event.datacontenttype === undefined ? 'bytes' : formatOf(event.datacontenttype);
  if (format === 'json') return keep(event, 'data', checkJson(parse('data', bytes)));
  if (format === 'text' && isUtf8(bytes)) return keep(event, 'data', bytes.toString());
  return keep(event, 'data_base64', bytes.toString('base64'));
}

/** The event is ours alone until we return it. */
function keep(event: CloudEvent, member: 'data' | 'data_base64', value: unknown): CloudEvent {
  (event as Record<string, unknown>)[member] = value;
  return event;
}

function parse(fault: string, bytes: Buffer): unknown {
  try {
    if (isUtf8(bytes)) return JSON.parse(bytes.toString());
  } catch {
    // The same answer as to bytes that are no UTF-8.
  }
  throw new MalformedEvent(fault, 'expected JSON in UTF-8');
}

/** Refuses what couldn't be written again. */
function checkJson(value: unknown, levels = DATA_DEPTH): unknown {
  if (typeof value === 'number' && !Number.isFinite(value)) throw new MalformedEvent('data', 'expected finite numbers');
  if (typeof value !== 'object' || value === null) return value;
  if (levels === 0) throw new MalformedEvent('data', `nested deeper than ${DATA_DEPTH} levels`);
  for (const inner of Array.isArray(value) ? value : Object.values(value)) checkJson(inner, levels - 1);
  return value;
}

/** Values in their canonical string representation, percent-encoded. */
function encode(name: string, value: unknown): string {
  if (typeof value !== 'string' && typeof value !== 'number' && typeof value !== 'boolean') {
    throw new MalformedEvent(name, 'expected a string, a boolean or an integer');
  }
  const text = String(value);
  if (PLAIN.test(text)) return text;
  try {
    return text.replace(NOT_PLAIN, encodeURIComponent);
  } catch {
    throw new MalformedEvent(name, 'expected Unicode text');
  }
}

function single(name: string, value: string | string[]): string {
  if (!Array.isArray(value)) return value;
  if (value.length !== 1) throw new MalformedEvent(name, 'expected once');
  return value[0]!;
}

/**
 * Unquoted, then percent-decoded once. Raw UTF-8, which Node hands over as Latin-1, is taken for what was meant.
 * @throws MalformedEvent when it isn't percent-encoded UTF-8, or no value for this attribute
 */
function fromHeader(name: string, header: string): unknown {
  if (PLAIN.test(header)) return checkAttribute(name, header);
  const unquoted = QUOTED.exec(header)?.[1]?.replace(/\\(.)/gs, '$1') ?? header;
  let text: string;
  try {
    text = decodeURIComponent(fromLatin1(unquoted));
  } catch {
    throw new MalformedEvent(name, 'expected percent-encoded UTF-8');
  }
  // Knative and the SDK of Go send URIs unencoded: their %20 is no space, but a part of the URI.
  const isUnencoded = isPossibleUri(name, unquoted) && !isPossibleUri(name, text) && isText(text);
  return checkAttribute(name, isUnencoded ? unquoted : text);
}

function fromLatin1(text: string): string {
  if (!/[\x80-\xff]/.test(text) || /[^\x00-\xff]/.test(text)) return text;
  const bytes = Buffer.from(text, 'latin1');
  return isUtf8(bytes) ? bytes.toString() : text;
}
