import { isUtf8 } from 'node:buffer';
import { checkAttribute, checkComplete, formatOf, isPossibleUri, isText, MalformedEvent } from './attributes.js';
import type { CloudEvent } from './cloud-event.js';

/** A request or response as Node has it, with header names in any case. `headersDistinct` shows repeated headers. */
export interface HttpMessage {
  readonly headers: Record<string, string | string[] | undefined>;
  readonly body: Buffer;
}

export const STRUCTURED = 'application/cloudevents+json';
export const BATCHED = 'application/cloudevents-batch+json';

/** Media types that tell the mode of a message, not the type of its data. */
export const CLOUD_EVENTS = /^application\/cloudevents/i;

/** Deepest nesting of data: code that walks through it uses some stack for each level. */
const DATA_DEPTH = 32;

/** What a header carries unencoded. Space, double quote, percent and everything else is encoded (HTTP binding, section 3.1.3.2). */
export const PLAIN = /^[\x21\x23\x24\x26-\x7e]*$/;
/** RFC 7230, section 3.2.6. */
const QUOTED = /^"([^"\\]*(?:\\.[^"\\]*)*)"$/s;

/**
 * The event of a message, or those of a batch, which may be empty. Extensions are kept, as strings in binary mode. Data
 * is kept the same way in each mode: parsed when it is JSON, a string when it is text or XML in UTF-8, else Base64; no
 * bytes are no data. Of a name that occurs twice in a JSON object the last value counts, as in `JSON.parse` and Knative; a
 * byte order mark is no JSON, as there. Numbers are doubles.
 * @param maxBatch most events of a batch
 * @param malformed takes the errors of the events of a batch that are left out; without it the first one is thrown
 * @throws MalformedEvent and nothing else
 */
export function toEvents(
  { headers, body }: HttpMessage,
  maxBatch = Infinity,
  malformed?: MalformedEvent[],
): CloudEvent[] {
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
  if (json.length > maxBatch) throw new MalformedEvent('body', `expected at most ${maxBatch} events in a batch`);
  return json.flatMap((item, index) => fromBatchItem(item, index, malformed));
}

function fromBatchItem(json: unknown, index: number, malformed?: MalformedEvent[]): CloudEvent | [] {
  try {
    return fromJson(json);
  } catch (error) {
    const { fault, problem } = error as MalformedEvent;
    const ofItem = new MalformedEvent(`event ${index} of the batch, ${fault}`, problem);
    if (!malformed) throw ofItem;
    malformed.push(ofItem);
    return [];
  }
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
  // Binary mode implies no content type: bytes stay bytes.
  const format = event.datacontenttype === undefined ? 'bytes' : formatOf(event.datacontenttype);
  if (format === 'json') return keep(event, 'data', checkJson(parse('data', bytes)));
  if (format === 'text' && isUtf8(bytes)) return keep(event, 'data', bytes.toString());
  return keep(event, 'data_base64', bytes.toString('base64'));
}

/** Sets the data of an event that only this parser knows yet. */
function keep(event: CloudEvent, member: 'data' | 'data_base64', value: unknown): CloudEvent {
  (event as Record<string, unknown>)[member] = value;
  return event;
}

function parse(fault: string, bytes: Buffer): unknown {
  try {
    if (isUtf8(bytes)) return JSON.parse(bytes.toString());
  } catch {
    // Answered as bytes that are no UTF-8.
  }
  throw new MalformedEvent(fault, 'expected JSON in UTF-8');
}

/** @throws MalformedEvent for a value that couldn't be written as JSON again */
function checkJson(value: unknown, levels = DATA_DEPTH): unknown {
  if (typeof value === 'number' && !Number.isFinite(value)) throw new MalformedEvent('data', 'expected finite numbers');
  if (typeof value !== 'object' || value === null) return value;
  if (levels === 0) throw new MalformedEvent('data', `nested deeper than ${DATA_DEPTH} levels`);
  for (const inner of Array.isArray(value) ? value : Object.values(value)) checkJson(inner, levels - 1);
  return value;
}

function single(name: string, value: string | string[]): string {
  if (!Array.isArray(value)) return value;
  if (value.length !== 1) throw new MalformedEvent(name, 'expected once');
  return value[0]!;
}

/**
 * The value of a header: unquoted, then percent-decoded once. Node hands raw UTF-8 over as Latin-1; it is read as UTF-8.
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
  // Knative and the Go SDK send URIs unencoded: %20 in them is part of the URI, not a space.
  const isUnencoded = isPossibleUri(name, unquoted) && !isPossibleUri(name, text) && isText(text);
  return checkAttribute(name, isUnencoded ? unquoted : text);
}

function fromLatin1(text: string): string {
  if (!/[\x80-\xff]/.test(text) || /[^\x00-\xff]/.test(text)) return text;
  const bytes = Buffer.from(text, 'latin1');
  return isUtf8(bytes) ? bytes.toString() : text;
}
