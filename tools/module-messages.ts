import 'reflect-metadata';
import type { Provider, Type } from '@nestjs/common';
import type { MessageClass } from '../src/infrastructure/contracts/message.js';
import { commandOf, eventsOf, meshFeatureOf, messagesIn } from '../src/infrastructure/contracts/mesh-feature.js';
import { classSourcesOf, sendersOf } from './message-sources.js';
import type { Sources } from './source.js';

/* Which module handles and sends which durable messages. Other messages never leave the process. */

/** A module, and the types of the messages that it handles and sends, in alphabetical order. */
export interface ModuleMessages {
  readonly module: string;
  readonly handles: readonly string[];
  readonly sends: readonly string[];
}

/** A durable command or event of a contract. */
export interface DeclaredMessage {
  readonly type: string;
  /** The comment at its declaration. */
  readonly sentence?: string;
  /** The modules whose code creates such a message. */
  readonly senders: readonly string[];
}

/** The messages that each module handles, by its decorators, and sends. */
export function messagesOfModules(modules: readonly Type[], declared: readonly DeclaredMessage[]): ModuleMessages[] {
  return modules.map((it) => {
    const { name } = meshFeatureOf(it);
    const sends = declared.filter(({ senders }) => senders.includes(name)).map(({ type }) => type);
    return { module: name, handles: handledTypes(it), sends: sends.sort() };
  });
}

/** The messages of all contracts. Their senders are found in the source texts. */
export function declaredMessages(modules: readonly Type[], sources: Sources): DeclaredMessage[] {
  const senders = sendersOf(sources);
  const classSources = classSourcesOf(sources);
  return modules.flatMap((module) => {
    const { name, contract } = meshFeatureOf(module);
    return messagesIn(contract).messages.map((message) => {
      const key = `${name}/${message.name}`;
      const sentence = classSources.get(key)?.sentence;
      return { type: message.type, senders: [...(senders.get(key) ?? [])].sort(), ...(sentence && { sentence }) };
    });
  });
}

function handledTypes(module: Type): string[] {
  const providers = (Reflect.getMetadata('providers', module) ?? []) as Provider[];
  const handlers = providers.filter((it): it is Type => typeof it === 'function');
  const messages = handlers.flatMap((it): (Partial<MessageClass> | undefined)[] => [commandOf(it), ...eventsOf(it)]);
  const types = messages.flatMap((it) => (it?.kind && it.type ? [it.type] : []));
  return [...new Set(types)].sort();
}
