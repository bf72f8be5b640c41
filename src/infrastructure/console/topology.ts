import type { Type } from '@nestjs/common';
import { exampleOf, wireSchema, type JsonSchema } from '../cloudevents/json-schema.js';
import { declaredHandlers, meshFeatureOf, messagesIn } from '../contracts/mesh-feature.js';
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
  /** The classes that handle or answer it. */
  readonly handlers: readonly { readonly module: string; readonly name: string }[];
  readonly schema: JsonSchema;
  readonly example: unknown;
}

/** The messages and queries of all contracts, of all modules of the application. */
export function describedMessages(modules: readonly Type[]): DescribedMessage[] {
  const handlers = declaredHandlers(modules);
  return modules.flatMap((module) => {
    const { name: owner, contract } = meshFeatureOf(module);
    const { messages, queries } = messagesIn(contract);
    const described = (it: MessageClass | QueryClass): DescribedMessage => {
      const type = it.kind === 'query' ? it.queryName : it.type;
      const schema = wireSchema(it.schema);
      const own = handlers.filter((handler) => handler.type === type);
      return {
        type,
        name: it.name,
        kind: it.kind,
        owner,
        senders: permittedSenders(it, owner),
        consumers: it.kind === 'query' ? [owner] : [...new Set(own.map(({ module }) => module))],
        handlers: own.map(({ module, name }) => ({ module, name })),
        schema,
        example: exampleOf(schema),
      };
    };
    return [...messages, ...queries].map(described);
  });
}

export function moduleNames(modules: readonly Type[]): string[] {
  return modules.map((it) => meshFeatureOf(it).name);
}
