import type { Binding, CloudEventV1, Message } from 'cloudevents';
import { ATTRIBUTE_NAMES, formatOf, MalformedEvent } from './attributes.js';
import type { CloudEvent } from './cloud-event.js';
import { BATCHED, CLOUD_EVENTS, PLAIN, STRUCTURED, toEvents } from './http-parser.js';
import { plainEvent } from './plain-event.js';

/*
 * CloudEvents 1.0 over HTTP (HTTP protocol binding 1.0.2, JSON event format 1.0.2), with the interface of the SDK. Why the
 * SDK's own binding is not used: docs/adr/0020-cloudevents-sdk-types-and-own-codec.md.
 */

/** A message that can be sent. A string goes out as UTF-8. */
export interface OutgoingMessage<Body = Buffer | string | undefined> {
  readonly headers: Record<string, string>;
  readonly body: Body;
}

/**
 * The HTTP binding, to be used as that of the SDK. `binary` and `structured` never fail for an event of `toEvent`.
 * Data without a `datacontenttype` is JSON and is sent as JSON.
 * @throws MalformedEvent when an attribute can't be sent, data isn't what `datacontenttype` says, or a message is no event
 */
export const HTTP = { binary, structured, toEvent, isEvent } satisfies Binding;

function binary<T>(event: CloudEventV1<T>): OutgoingMessage {
  const { headers: flat, body } = flatBinary(event);
  const headers: Record<string, string> = {};
  for (let index = 0; index < flat.length; index += 2) headers[flat[index]!] = flat[index + 1]!;
  return { headers, body };
}

/** A message whose headers are names and values in turn, as undici takes them: an object would be made in vain. */
export interface FlatMessage {
  readonly headers: string[];
  readonly body: OutgoingMessage['body'];
}

/** An event in binary mode. @throws MalformedEvent as `HTTP.binary` does */
export function flatBinary(event: CloudEvent): FlatMessage {
  // An event within an event: in binary mode its content type would announce another mode.
  if (CLOUD_EVENTS.test(event.datacontenttype ?? '')) {
    const { headers, body } = structured(event);
    return { headers: Object.entries(headers).flat(), body };
  }
  const headers: string[] = [];
  for (const name of Object.keys(event)) {
    if (name === 'data' || name === 'data_base64' || name === 'datacontenttype') continue;
    const value = event[name];
    if (value !== undefined && value !== null)
      headers.push(HEADER_NAMES.get(name) ?? `ce-${name}`, encode(name, value));
  }
  const { data, data_base64: base64, datacontenttype } = event;
  // The SDK's class keeps binary data in `data` as well: it is no JSON without a type.
  const isBinary = typeof base64 === 'string';
  const contentType = datacontenttype ?? (data === undefined || isBinary ? undefined : 'application/json');
  if (contentType !== undefined) headers.push('content-type', contentType);
  if (isBinary) return { headers, body: Buffer.from(base64, 'base64') };
  if (data === undefined) return { headers, body: undefined };
  if (formatOf(contentType!) === 'json') return { headers, body: JSON.stringify(data) };
  if (typeof data === 'string') return { headers, body: data };
  throw new MalformedEvent('data', 'expected a string, as it is not JSON');
}

function structured<T>(event: CloudEventV1<T>): OutgoingMessage<string> {
  // toJSON() of the SDK's class cuts the time to milliseconds.
  const json = 'toJSON' in event ? plainEvent(event) : event;
  return { headers: { 'content-type': STRUCTURED }, body: JSON.stringify(json) };
}

/** Several events in one message, or none. Knative takes no batches: send them only to a receiver that asks for them. */
export function toBatch(events: readonly CloudEvent[]): OutgoingMessage<string> {
  return { headers: { 'content-type': BATCHED }, body: JSON.stringify(events) };
}

function toEvent<T>(message: Message): CloudEventV1<T> | CloudEventV1<T>[] {
  const events = toEvents({ headers: message.headers, body: bytesOf(message.body) }) as CloudEventV1<T>[];
  return isBatch(message.headers) ? events : events[0]!;
}

function isEvent(message: Message): boolean {
  try {
    toEvent(message);
    return true;
  } catch {
    return false;
  }
}

function isBatch(headers: Message['headers']): boolean {
  const [, type] = Object.entries(headers).find(([name]) => name.toLowerCase() === 'content-type') ?? [];
  return /^application\/cloudevents-batch/i.test(String(type));
}

/** The SDK takes bodies as bytes, as text, or parsed already. */
function bytesOf(body: unknown): Buffer {
  if (body === undefined || body === null) return Buffer.alloc(0);
  if (Buffer.isBuffer(body)) return body;
  if (body instanceof Uint8Array) return Buffer.from(body);
  return Buffer.from(typeof body === 'string' ? body : JSON.stringify(body));
}

/** The headers of the usual attributes, made once. */
const HEADER_NAMES = new Map(ATTRIBUTE_NAMES.map((name) => [name, `ce-${name}`]));

const NOT_PLAIN = /[^\x21\x23\x24\x26-\x7e]+/g;

/** A value in its canonical string representation, percent-encoded (HTTP binding, 3.1.3.2). */
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
