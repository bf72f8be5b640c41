import type { CloudEvent } from '../../src/infrastructure/cloudevents/cloud-event.js';
import { continueTrace } from '../../src/infrastructure/observability/request-context.js';
import { goInt32, goTime, goUri } from './go-values.js';

/*
 * Events as a broker takes them and hands them on. It is lenient where the application is strict, and it passes on what
 * it was given to the byte: no percent-decoding, no other encoding of characters. So attributes are kept as Node gives
 * headers, one character for each byte; `asText` is for people.
 */

/** An accepted event as it is stored, with what the broker needs besides; no attribute can have the name `_mesh`. */
export interface StoredEvent extends CloudEvent {
  readonly data_base64?: string;
  readonly knativebrokerttl?: string;
  readonly _mesh: {
    /** `<namespace>/<name>` of the broker that accepted it. */
    readonly broker: string;
    /** Headers that travel along with an event. */
    readonly headers: Record<string, string>;
  };
}

/** An event that the ingress of a broker answers with 400. */
export class Refused extends Error {
  override readonly name = 'Refused';
}

/** Header names are in lower case. */
export interface Message {
  readonly headers: Record<string, string>;
  readonly body: Buffer;
}

const TTL = 255;
/** What is passed on from the producer to every later hop. */
const TRAVELS = /^(x-request-id|retry-after|traceparent|knative-.*|x-b3-.*)$/;

/** One character for each byte of its UTF-8, as in a header. */
export function asHeader(text: string): string {
  return Buffer.from(text, 'utf8').toString('latin1');
}

/** The text of a header whose bytes are UTF-8. */
export function asText(header: string): string {
  return Buffer.from(header, 'latin1').toString('utf8');
}

/** Whether this is an event in some encoding; a subscriber's answer often is none. */
export function isEvent({ headers }: Message): boolean {
  return headers['ce-specversion'] !== undefined || isStructured(headers) || isBatch(headers);
}

const mediaType = (headers: Record<string, string>) => (headers['content-type'] ?? '').trim().toLowerCase();
const isStructured = (headers: Record<string, string>) => /^application\/cloudevents\+json\b/.test(mediaType(headers));
const isBatch = (headers: Record<string, string>) => mediaType(headers).startsWith('application/cloudevents-batch');

/**
 * Reads an event without judging it as an ingress does, as the filter in front of a subscriber reads its answer.
 * @throws Refused when no event can be made out
 */
export function read(message: Message, broker: string): StoredEvent {
  if (isBatch(message.headers)) throw new Refused('Brokers take no batches');
  const attributes = isStructured(message.headers) ? structured(message.body) : binary(message);
  const { specversion } = attributes;
  if (specversion !== '1.0' && specversion !== '0.3') throw new Refused('The specversion is neither 1.0 nor 0.3');
  const travelling = Object.entries(message.headers).filter(([name]) => TRAVELS.test(name));
  const data = message.headers['ce-data'];
  if (data !== undefined && !isStructured(message.headers)) travelling.push(['ce-data', data]);
  const headers: Record<string, string> = Object.fromEntries(travelling);
  headers.traceparent = continueTrace(headers.traceparent ?? b3(headers));
  return { ...attributes, _mesh: { broker, headers } } as StoredEvent;
}

/**
 * What the ingress makes of an event: valid, one hop less to live, stamped with its arrival.
 * @throws Refused
 */
export function accept(event: StoredEvent): StoredEvent {
  for (const name of ['id', 'source', 'type'] as const) {
    if (!event[name]?.trim()) throw new Refused(`There is no ${name}`);
  }
  const left = goInt32(event.knativebrokerttl ?? '');
  const ttl = left === undefined ? TTL : left - 1;
  if (ttl <= 0) throw new Refused('It has been on its way for too long: its time to live is over');
  const knativearrivaltime = new Date().toISOString().replace(/\.?0*Z$/, 'Z');
  return { ...event, knativebrokerttl: String(ttl), knativearrivaltime };
}

/** How it is forwarded: always binary. Without what only brokers tell one another, for a subscriber. */
export function toHttp(
  event: StoredEvent,
  to: 'subscriber' | 'deadLetterSink',
): { headers: Record<string, string>; body: Buffer } {
  const { data, data_base64, datacontenttype, _mesh, ...attributes } = event;
  const headers: Record<string, string> = { ..._mesh.headers };
  for (const [name, value] of Object.entries(attributes)) {
    if (name !== 'knativebrokerttl' || to === 'deadLetterSink') headers[`ce-${name}`] = value as string;
  }
  if (datacontenttype !== undefined) headers['content-type'] = datacontenttype;
  const body = data_base64 === undefined && data !== undefined ? Buffer.from(JSON.stringify(data)) : data_base64;
  return { headers, body: typeof body === 'string' ? Buffer.from(body, 'base64') : (body ?? Buffer.alloc(0)) };
}

function binary({ headers, body }: Message): Record<string, unknown> {
  const attributes: Record<string, unknown> = {};
  for (const [header, value] of Object.entries(headers)) {
    if (!header.startsWith('ce-') || header === 'ce-data') continue;
    const name = header.slice(3);
    if (!/^[a-z0-9]+$/.test(name) || name === 'datacontenttype')
      throw new Refused(`No attribute can be called ${name}`);
    if (name === 'subject' && value === '') continue;
    attributes[name] = attribute(name, value, 'binary');
  }
  if (headers['content-type']) attributes.datacontenttype = headers['content-type'];
  return { ...attributes, ...dataOf(body) };
}

/** The trace of a producer that speaks B3. */
function b3(headers: Record<string, string>): string | undefined {
  const trace = headers['x-b3-traceid']?.padStart(32, '0');
  return trace && `00-${trace}-${headers['x-b3-spanid'] ?? ''}-01`;
}

/** Legible where JSON is what we would write ourselves, else to the byte. */
function dataOf(body: Buffer): { data?: unknown; data_base64?: string } {
  if (body.length === 0) return {};
  const text = body.toString('utf8');
  try {
    const data: unknown = JSON.parse(text);
    if (JSON.stringify(data) === text && Buffer.byteLength(text) === body.length) return { data };
  } catch {
    // Whatever it is, it will be passed on.
  }
  return { data_base64: body.toString('base64') };
}

function attribute(name: string, value: string, mode: 'binary' | 'structured'): string | undefined {
  if (name === 'source' || name === 'schemaurl') {
    const uri = value === '' ? undefined : goUri(value);
    if (name === 'source' && !uri) throw new Refused('The source is no URI reference');
    return uri?.text;
  }
  if (name === 'dataschema') {
    const uri = goUri(value);
    // Measured: in structured mode a schema that is no URI at all is dropped, a relative one is refused.
    if (!uri && mode === 'structured') return undefined;
    if (!uri?.isAbsolute) throw new Refused('The dataschema is no absolute URI');
    return uri.text;
  }
  if (name === 'time') {
    const time = goTime(value);
    if (time === undefined) throw new Refused('The time is none of RFC 3339');
    return time;
  }
  return value;
}

const STRINGS = ['specversion', 'id', 'source', 'type', 'subject', 'time', 'datacontenttype', 'dataschema'];

function structured(body: Buffer): Record<string, unknown> {
  const members = jsonObject(body);
  const attributes: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(members)) {
    if (key === 'data' || key === 'data_base64') continue;
    const name = STRINGS.includes(key) ? key : key.toLowerCase();
    if (!/^[a-z0-9]+$/.test(name)) throw new Refused(`No attribute can be called ${name}`);
    if (key === 'datacontenttype' && !value) throw new Refused('The datacontenttype is empty');
    const isDropped = value === null || (value === '' && ['subject', 'time', 'dataschema'].includes(key));
    const text = isDropped ? undefined : attribute(name, scalar(key, value), 'structured');
    if (text !== undefined) attributes[name] = text;
  }
  return { ...attributes, ...structuredData(members, attributes.datacontenttype as string | undefined) };
}

function jsonObject(body: Buffer): Record<string, unknown> {
  let json: unknown;
  try {
    json = JSON.parse(body.toString('utf8'));
  } catch {
    throw new Refused('This is no JSON');
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json)) throw new Refused('This is no JSON object');
  return json as Record<string, unknown>;
}

/** Numbers become 32-bit integers, as 1.5 becomes 1 in a real broker. */
function scalar(name: string, value: unknown): string {
  if (typeof value === 'string') {
    if (/[\0-\x08\x0a-\x1f\x7f]/.test(value)) throw new Refused(`No header can hold the ${name}`);
    return asHeader(value);
  }
  if (STRINGS.includes(name)) throw new Refused(`The ${name} is no string`);
  if (typeof value === 'boolean') return String(value);
  const integer = typeof value === 'number' ? goInt32(String(value)) : undefined;
  if (integer === undefined) throw new Refused(`The ${name} is no string, boolean or 32-bit integer`);
  return String(integer);
}

function structuredData(members: Record<string, unknown>, contentType: string | undefined) {
  const [last] = Object.keys(members)
    .filter((key) => key === 'data' || key === 'data_base64')
    .slice(-1);
  if (last === undefined) return {};
  const value = members[last];
  if (last === 'data_base64') {
    if (typeof value !== 'string' || !/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(value))
      throw new Refused('The data_base64 is no Base64');
    return { data_base64: value };
  }
  const type = contentType?.split(';')[0]!.trim().toLowerCase();
  if (type === undefined || ['application/json', 'text/json'].includes(type)) return { data: value };
  if (typeof value !== 'string') throw new Refused(`The data is no string, which ${type} would have to be`);
  return { data_base64: Buffer.from(value, 'utf8').toString('base64') };
}
