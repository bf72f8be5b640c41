import { issuesOf, ValidationFailed } from '../contracts/domain-errors.js';
import { Reject, type DurableMessage, type MessageClass } from '../contracts/message.js';
import { sourceOf } from '../contracts/permissions.js';
import { messageSpan } from '../observability/message-span.js';
import { continueTrace, requestContext } from '../observability/request-context.js';
import { markedBySpan } from '../observability/tracing.js';
import { checkAttribute, isWithinNameLimit, MalformedEvent, MAX_NAME_BYTES } from './attributes.js';
import { extension, type CloudEvent } from './cloud-event.js';
import { eventId } from './event-id.js';

/**
 * Makes the event of a message. Retries, requeues and transports never change it.
 * @param sender name of the sending module
 * @throws ZodError when the data doesn't match the contract; nothing beyond the contract is sent
 * @throws MalformedEvent when the subject is no CloudEvents string of 1 to 1000 bytes
 */
export function toCloudEvent(
  message: DurableMessage,
  { type, strict }: MessageClass,
  application: string,
  sender: string,
): CloudEvent {
  checkAttribute('subject', message.subject);
  if (!isWithinNameLimit(message.subject)) throw new MalformedEvent('subject', `longer than ${MAX_NAME_BYTES} bytes`);
  const id = eventId();
  const context = requestContext();
  const { subject } = message;
  const source = sourceOf(application, sender);
  const parent = context?.traceparent;
  const traceparent = markedBySpan(() => messageSpan('create', 'PRODUCER', { id, type, source, subject, traceparent: parent })); // prettier-ignore
  return {
    specversion: '1.0',
    id,
    source,
    type,
    subject,
    time: new Date().toISOString(),
    datacontenttype: 'application/json',
    dataschema: schemaOf(application, type),
    correlationid: context?.correlationId ?? id,
    ...(context?.causationId && { causationid: context.causationId }),
    partitionkey: subject,
    traceparent: traceparent ?? continueTrace(parent),
    data: toWire(strict.parse(message.data)),
  };
}

/** The `dataschema` of a type. Schemas only grow; any other change is a new type, so the version stays 1. */
export function schemaOf(application: string, type: string): string {
  return `urn:${application}:schema:${type}:1`;
}

/** @throws Reject when names of an event are missing, or longer than messages have them */
export function assertNames<Event extends CloudEvent>(
  event: Event,
): asserts event is Event & { readonly subject: string } {
  const { source, id, type, subject } = event;
  const tooLong = (what: string) => new Reject(`${what} longer than ${MAX_NAME_BYTES} bytes`);
  if (!isWithinNameLimit(type)) throw tooLong('type is');
  // source and id are the key of the inbox; handlers use the subject as their business key.
  if (!isWithinNameLimit(source, id)) throw tooLong('source and id together are');
  if (!subject) throw new Reject(`${type} needs a subject`);
  if (!isWithinNameLimit(subject)) throw tooLong('subject is');
}

/**
 * The message that an event carries. Unknown fields are left out, because contracts grow.
 * @throws Reject when the event doesn't match the contract of its message
 */
export function parseMessage(event: CloudEvent, declaration: MessageClass): DurableMessage {
  assertNames(event);
  const data = declaration.schema.safeParse(fromWire(event.data));
  if (!data.success) {
    const { message } = new ValidationFailed(issuesOf(data.error));
    throw new Reject(`${event.type} doesn't match its contract: ${message}`);
  }
  return new declaration(event.subject, data.data as never);
}

/** The correlation id of an event; its own id where there is none, or one that is too long to pass on. */
export function correlationIdOf(event: CloudEvent): string {
  const given = extension(event, 'correlationid');
  if (given !== undefined && isWithinNameLimit(given)) return given;
  return isWithinNameLimit(event.id) ? event.id : event.id.slice(0, MAX_NAME_BYTES / 4);
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
