import { continueTrace } from '../../src/infrastructure/observability/request-context.js';
import { RefusedError } from '../errors.js';
import { assertAttributeName, attributeValue } from './attributes.js';
import { goInt32 } from './go-values.js';
import type { Message, StoredEvent } from './stored-event.js';
import { parseStructured, type EventParts } from './structured-mode.js';

/*
 * How the broker reads events from HTTP and forwards them. It accepts more than the application does, as a real broker
 * accepts more, and it forwards byte for byte, without percent-decoding.
 */

/** Hops that an event may take, when it brings no `knativebrokerttl`. */
const TTL = 255;
/** Headers that are forwarded from the producer to each later hop. */
const FORWARDED = /^(x-request-id|retry-after|traceparent|knative-.*|x-b3-.*)$/;

/** Whether the message is an event in any mode. The answer of a subscriber often is none. */
export function isEvent({ headers }: Message): boolean {
  return headers['ce-specversion'] !== undefined || isStructured(headers) || isBatch(headers);
}

const mediaType = (headers: Record<string, string>) => (headers['content-type'] ?? '').trim().toLowerCase();
const isStructured = (headers: Record<string, string>) => /^application\/cloudevents\+json\b/.test(mediaType(headers));
const isBatch = (headers: Record<string, string>) => mediaType(headers).startsWith('application/cloudevents-batch');

/**
 * Reads an event without the checks of an ingress, as the filter reads the answer of a subscriber.
 * @throws RefusedError when the message contains no event
 */
export function read(message: Message, broker: string): StoredEvent {
  if (isBatch(message.headers)) throw new RefusedError('Batches of events are not supported');
  const { attributes, body } = isStructured(message.headers) ? parseStructured(message.body) : parseBinary(message);
  const { specversion } = attributes;
  if (specversion !== '1.0' && specversion !== '0.3') throw new RefusedError('The specversion is neither 1.0 nor 0.3');
  const forwarded = Object.entries(message.headers).filter(([name]) => FORWARDED.test(name));
  const data = message.headers['ce-data'];
  if (data !== undefined && !isStructured(message.headers)) forwarded.push(['ce-data', data]);
  const headers: Record<string, string> = Object.fromEntries(forwarded);
  headers.traceparent = continueTrace(headers.traceparent ?? b3Trace(headers));
  return { ...attributes, ...storedData(body), _mesh: { broker, headers } } as StoredEvent;
}

/**
 * Checks an event as an ingress does.
 * @returns the event with one hop less to live, and the time of its arrival
 * @throws RefusedError for an event that lacks an attribute or has no hops left
 */
export function accept(event: StoredEvent): StoredEvent {
  for (const name of ['id', 'source', 'type'] as const) {
    if (!event[name]?.trim()) throw new RefusedError(`The ${name} is missing`);
  }
  const left = goInt32(event.knativebrokerttl ?? '');
  const ttl = left === undefined ? TTL : left - 1;
  if (ttl <= 0) throw new RefusedError('The event has no hops left: its knativebrokerttl has expired');
  const knativearrivaltime = new Date().toISOString().replace(/\.?0*Z$/, 'Z');
  return { ...event, knativebrokerttl: String(ttl), knativearrivaltime };
}

/** The event in binary mode, as it is forwarded. Subscribers don't get attributes that only brokers need. */
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

/** The binary mode of CloudEvents: attributes in headers, data in the body. */
function parseBinary({ headers, body }: Message): EventParts {
  const attributes: Record<string, string> = {};
  for (const [header, value] of Object.entries(headers)) {
    if (!header.startsWith('ce-') || header === 'ce-data') continue;
    const name = header.slice(3);
    assertAttributeName(name);
    if (name === 'datacontenttype') throw new RefusedError('The datacontenttype belongs into Content-Type');
    if (name === 'subject' && value === '') continue;
    const attribute = attributeValue(name, value, 'binary');
    if (attribute !== undefined) attributes[name] = attribute;
  }
  if (headers['content-type']) attributes.datacontenttype = headers['content-type'];
  return { attributes, body };
}

/** The trace of a producer that sends B3 headers. */
function b3Trace(headers: Record<string, string>): string | undefined {
  const trace = headers['x-b3-traceid']?.padStart(32, '0');
  return trace && `00-${trace}-${headers['x-b3-spanid'] ?? ''}-01`;
}

/** Stores JSON as JSON when serializing it gives back the same bytes, and all other bodies as Base64. */
function storedData(body: Buffer): { data?: unknown; data_base64?: string } {
  if (body.length === 0) return {};
  const text = body.toString('utf8');
  try {
    const data: unknown = JSON.parse(text);
    if (JSON.stringify(data) === text && Buffer.byteLength(text) === body.length) return { data };
  } catch {
    // The body is no JSON. A broker forwards it all the same.
  }
  return { data_base64: body.toString('base64') };
}
