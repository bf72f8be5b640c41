import { v7 as uuidv7 } from 'uuid';
import { requestContext, continueTrace, type RequestContext } from '../observability/request-context.js';
import { checkAttribute, isShort, MAX_NAME_BYTES, MalformedEvent } from './attributes.js';
import type { DurableMessage, MessageClass } from '../contracts/message.js';

/** A CloudEvent 1.0 in structured form, with the extensions that we send. Extensions of others are kept as they are. */
export interface CloudEvent {
  readonly specversion: '1.0';
  readonly id: string;
  readonly source: string;
  readonly type: string;
  readonly subject?: string;
  readonly time?: string;
  readonly datacontenttype?: string;
  readonly dataschema?: string;
  readonly correlationid?: string;
  readonly causationid?: string;
  readonly partitionkey?: string;
  readonly traceparent?: string;
  readonly data?: unknown;
  readonly [extension: string]: unknown;
}

/**
 * Makes the event that a message will be on every transport, for ever: retries, replays and brokers change nothing.
 * @param from name of the sending module
 * @throws ZodError when the data isn't what the contract says; nothing beyond the contract is sent
 * @throws MalformedEvent when no CloudEvent can have such a subject, or no receiver of ours takes it
 */
export function toCloudEvent(
  message: DurableMessage,
  { type, strict }: MessageClass,
  application: string,
  from: string,
): CloudEvent {
  checkAttribute('subject', message.subject);
  if (!isShort(message.subject)) throw new MalformedEvent('subject', `longer than ${MAX_NAME_BYTES} bytes`);
  const id = uuidv7();
  const on = requestContext();
  return {
    specversion: '1.0',
    id,
    source: `usvc://${application}/${from}`,
    type,
    subject: message.subject,
    time: new Date().toISOString(),
    datacontenttype: 'application/json',
    dataschema: `urn:${application}:schema:${type}:1`,
    correlationid: on?.correlationId ?? id,
    ...(on?.causationId && { causationid: on.causationId }),
    partitionkey: message.subject,
    traceparent: continueTrace(on?.traceparent),
    data: toWire(strict.parse(message.data)),
  };
}

/** The journey that an event is on: what is logged of it belongs there. */
export function requestContextOf({ id, correlationid, traceparent: trace }: CloudEvent): RequestContext {
  return { correlationId: correlationid ?? id, traceparent: trace ?? continueTrace() };
}

/** Object keys from camel case to kebab case, all the way down. */
export function toWire(value: unknown): unknown {
  return mapKeys(value, (key) => key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`));
}

/** Object keys from kebab case to camel case, all the way down. Keys that were never kebab case are left out. */
export function fromWire(value: unknown): unknown {
  return mapKeys(value, (key) =>
    /[A-Z]/.test(key) ? undefined : key.replace(/-([a-z0-9])/g, (_, letter: string) => letter.toUpperCase()),
  );
}

function mapKeys(value: unknown, rename: (key: string) => string | undefined): unknown {
  if (Array.isArray(value)) return value.map((item) => mapKeys(item, rename));
  if (value === null || typeof value !== 'object') return value;
  const renamed: Record<string, unknown> = {};
  for (const [key, inner] of Object.entries(value)) {
    const name = rename(key);
    if (name !== undefined && name !== '__proto__') renamed[name] = mapKeys(inner, rename);
  }
  return renamed;
}
