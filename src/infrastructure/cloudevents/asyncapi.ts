import type { Type } from '@nestjs/common';
import { consumersByType, meshFeatureOf, messagesIn } from '../contracts/mesh-feature.js';
import { permittedSenders, type MessageClass } from '../contracts/message.js';
import { sourceOf } from '../contracts/permissions.js';
import { exampleOf, wireSchema, type JsonSchema } from './json-schema.js';
import { schemaOf } from './mapping.js';

/** What an AsyncAPI document describes. */
export interface DescribedApplication {
  /** Its name in sources. */
  readonly application: string;
  /** All modules, hosted by this process or not. */
  readonly modules: readonly Type[];
  /** What a message means, where that is known. */
  readonly sentenceOf?: (module: string, message: MessageClass) => string | undefined;
}

interface Described {
  readonly key: string;
  readonly owner: string;
  readonly message: MessageClass;
  readonly senders: readonly string[];
  readonly receivers: readonly string[];
  readonly sentence?: string;
}

/** The version of every schema: schemas only grow, and any other change is a new type. */
const VERSION = '1';
const HTTP_BINDING = '0.3.0';

/**
 * The AsyncAPI 3 document of the durable messages of all contracts: a channel for each type, an operation for each module that
 * sends or receives it.
 * @see https://www.asyncapi.com/docs/reference/specification/v3.0.0
 */
export function asyncApiDocument({ application, modules, sentenceOf }: DescribedApplication): object {
  const consumers = consumersByType(modules);
  const described = modules.flatMap((module) => {
    const { name: owner, contract } = meshFeatureOf(module);
    return messagesIn(contract).messages.map((message): Described => {
      const sentence = sentenceOf?.(owner, message);
      return {
        key: message.type.replace(/[^\w.-]/g, '_'),
        owner,
        message,
        senders: permittedSenders(message, owner),
        receivers: [...new Set(consumers.get(message.type))],
        ...(sentence !== undefined && { sentence }),
      };
    });
  });
  described.sort((a, b) => (a.key < b.key ? -1 : 1));
  const byKey = (valueOf: (it: Described) => unknown) =>
    Object.fromEntries(described.map((it) => [it.key, valueOf(it)]));
  return {
    asyncapi: '3.0.0',
    info: {
      title: `Messages of ${application}`,
      version: VERSION,
      description:
        'Commands and events between modules: CloudEvents 1.0 over HTTP, in binary mode. A command has one receiver, an event any ' +
        'number. Delivered at least once, and in order for each subject while deliveries succeed. Fields may be added to a ' +
        'schema, so that receivers ignore fields they do not know.',
    },
    defaultContentType: 'application/json',
    channels: byKey(channelOf),
    operations: Object.fromEntries(described.flatMap(operationsOf)),
    components: {
      messages: byKey((it) => messageOf(it, application)),
      schemas: Object.fromEntries(described.map((it) => [`${it.key}.headers`, headersOf(it, application)])),
    },
  };
}

function channelOf({ key, owner, message, sentence }: Described): object {
  return {
    address: message.type,
    title: message.name,
    ...(sentence && { description: sentence }),
    messages: { [key]: { $ref: `#/components/messages/${key}` } },
    tags: [{ name: message.kind }, { name: owner }],
  };
}

function operationsOf({ key, message, senders, receivers }: Described): [string, object][] {
  const operation = (action: 'send' | 'receive', who: string): [string, object] => [
    `${who.replace(/[^\w.-]/g, '_')}.${action}.${key}`,
    {
      action,
      channel: { $ref: `#/channels/${key}` },
      summary: `${who} ${action === 'send' ? 'may send' : 'receives'} ${message.name}`,
      tags: [{ name: who }],
      bindings: { http: { method: 'POST', bindingVersion: HTTP_BINDING } },
      messages: [{ $ref: `#/channels/${key}/messages/${key}` }],
    },
  ];
  return [...senders.map((it) => operation('send', it)), ...receivers.map((it) => operation('receive', it))];
}

function messageOf(described: Described, application: string): object {
  const { key, owner, message, sentence } = described;
  const headers = { $ref: `#/components/schemas/${key}.headers` };
  const payload = wireSchema(message.schema);
  const example = { headers: exampleOf(headersOf(described, application)), payload: exampleOf(payload) };
  return {
    name: message.type,
    title: message.name,
    ...(sentence && { summary: sentence }),
    contentType: 'application/json',
    headers,
    payload,
    correlationId: { location: '$message.header#/ce-correlationid' },
    tags: [{ name: message.kind }, { name: owner }],
    bindings: { http: { headers, bindingVersion: HTTP_BINDING } },
    examples: [{ name: message.name, ...example }],
  };
}

/** The attributes of the event as HTTP headers. */
function headersOf({ message: { type }, senders }: Described, application: string): JsonSchema {
  const sources = senders.map((it) => (/[:/]/.test(it) ? it : sourceOf(application, it)));
  const text = (more: JsonSchema = {}): JsonSchema => ({ type: 'string', ...more });
  const properties: Record<string, JsonSchema> = {
    'ce-specversion': text({ const: '1.0' }),
    'ce-id': text({ description: 'A UUID of version 7, the same in all deliveries', examples: ['0198c5e0-5c4d-7a3b-8f21-3a4b5c6d7e8f'] }), // prettier-ignore
    'ce-source': text({ enum: sources }),
    'ce-type': text({ const: type }),
    'ce-subject': text({ description: 'The object that the message is about, and its key of order', minLength: 1 }),
    'ce-time': text({ format: 'date-time' }),
    'ce-dataschema': text({ const: schemaOf(application, type) }),
    'ce-partitionkey': text({ description: 'The subject' }),
    'ce-correlationid': text({ description: 'Equal in all messages with the same origin' }),
    'ce-causationid': text({ description: 'The id of the message that caused this one' }),
    traceparent: text({ description: 'W3C Trace Context', examples: ['00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'] }), // prettier-ignore
  };
  const required = ['ce-specversion', 'ce-id', 'ce-source', 'ce-type', 'ce-subject'];
  return { type: 'object', required, properties };
}
