import type { Type } from '@nestjs/common';
import { exampleOf, wireSchema, type JsonSchema } from '../cloudevents/json-schema.js';
import { consumersByType, meshFeatureOf, messagesIn } from '../contracts/mesh-feature.js';
import { permittedSenders, type MessageClass, type QueryClass } from '../contracts/message.js';

/** A message or query of a contract: who sends it to whom. */
export interface DescribedMessage {
  /** The CloudEvents type; the name of a query. */
  readonly type: string;
  /** The name of its class. */
  readonly name: string;
  readonly kind: 'command' | 'event' | 'query';
  /** The module whose contract declares it. */
  readonly owner: string;
  /** Modules, and sources of other systems. */
  readonly senders: readonly string[];
  readonly consumers: readonly string[];
  readonly schema: JsonSchema;
  readonly example: unknown;
}

/** The messages and queries of all contracts, of all modules of the application. */
export function describedMessages(modules: readonly Type[]): DescribedMessage[] {
  const consumers = consumersByType(modules);
  return modules.flatMap((module) => {
    const { name: owner, contract } = meshFeatureOf(module);
    const { messages, queries } = messagesIn(contract);
    const described = (it: MessageClass | QueryClass, type: string, of: readonly string[]): DescribedMessage => {
      const schema = wireSchema(it.schema);
      const senders = permittedSenders(it, owner);
      return { type, name: it.name, kind: it.kind, owner, senders, consumers: of, schema, example: exampleOf(schema) };
    };
    return [
      ...messages.map((it) => described(it, it.type, [...new Set(consumers.get(it.type))])),
      ...queries.map((it) => described(it, it.queryName, [owner])),
    ];
  });
}

export function moduleNames(modules: readonly Type[]): string[] {
  return modules.map((it) => meshFeatureOf(it).name);
}
