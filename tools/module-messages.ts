import 'reflect-metadata';
import type { Provider, Type } from '@nestjs/common';
import { permittedSenders, type MessageClass } from '../src/infrastructure/contracts/message.js';
import { commandOf, eventsOf, meshFeatureOf, messagesIn } from '../src/infrastructure/contracts/mesh-feature.js';
import { classSourcesOf } from './message-sources.js';
import type { Sources } from './source.js';

/* Which module handles and sends which durable messages. Other messages never leave the process. */

/** A module, and the types of the messages that it handles and may send, in alphabetical order. */
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
  /** The modules that may send it, in alphabetical order. */
  readonly senders: readonly string[];
}

/** The messages that each module handles, by its decorators, and may send. */
export function messagesOfModules(modules: readonly Type[], declared: readonly DeclaredMessage[]): ModuleMessages[] {
  return modules.map((it) => {
    const { name } = meshFeatureOf(it);
    const sends = declared.filter(({ senders }) => senders.includes(name)).map(({ type }) => type);
    return { module: name, handles: handledTypes(it), sends: sends.sort() };
  });
}

/** The messages of all contracts. Their comments are found in the source texts. */
export function declaredMessages(modules: readonly Type[], sources: Sources): DeclaredMessage[] {
  const classSources = classSourcesOf(sources);
  const names = modules.map((it) => meshFeatureOf(it).name);
  return modules.flatMap((module) => {
    const { name, contract } = meshFeatureOf(module);
    return messagesIn(contract).messages.map((message) => {
      const sentence = classSources.get(`${name}/${message.name}`)?.sentence;
      const senders = permittedSenders(message, name).filter((it) => names.includes(it));
      return { type: message.type, senders: senders.sort(), ...(sentence && { sentence }) };
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
