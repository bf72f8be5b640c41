import type { Provider, Type } from '@nestjs/common';
import type { EventClass, MessageClass, QueryClass } from './message.js';
import { busesOf } from './module-buses.js';
import { CQRS_KEYS, NEST_KEYS } from './package-metadata.js';

/* What modules declare about themselves, readable without starting them. */

/** A module on the mesh: one consumer of messages, with a contract and tables of its own. */
export interface MeshFeatureOptions {
  /** Its name in sources, consumers and table prefixes. */
  readonly name: string;
  /** All exports of the contract: `import * as contract from './contract.js'`. */
  readonly contract: object;
  readonly entities?: readonly (new () => object)[];
}

/** One for all copies: the command line may load the package as ES modules, and the application as CommonJS. */
const MESH_FEATURE = Symbol.for('nestjs-meshy:mesh-feature');

/** Puts a Nest module on the mesh, and gives it buses of its own; stands above `@Module`. */
export function MeshFeature(options: MeshFeatureOptions): ClassDecorator {
  return (target) => {
    Reflect.defineMetadata(MESH_FEATURE, options, target);
    const providers = (Reflect.getMetadata(NEST_KEYS.providers, target) ?? []) as Provider[];
    Reflect.defineMetadata(NEST_KEYS.providers, [...providers, ...busesOf(options.name)], target);
  };
}

/** The options of `@MeshFeature`, if the class has that decorator. */
export function findMeshFeature(module: Type): MeshFeatureOptions | undefined {
  return Reflect.getMetadata(MESH_FEATURE, module) as MeshFeatureOptions | undefined;
}

/** @throws Error for a class without `@MeshFeature` */
export function meshFeatureOf(module: Type): MeshFeatureOptions {
  const options = findMeshFeature(module);
  if (!options) throw new Error(`${module.name} is not on the mesh: add @MeshFeature({ name, contract }) to the class`);
  return options;
}

/** The durable messages and queries of a contract. */
export function messagesIn(contract: object): { messages: MessageClass[]; queries: QueryClass[] } {
  const classes = Object.values(contract).filter((it) => typeof it === 'function') as Partial<
    MessageClass | QueryClass
  >[];
  return {
    messages: classes.filter((it) => it.kind === 'command' || it.kind === 'event') as MessageClass[],
    queries: classes.filter((it) => it.kind === 'query') as QueryClass[],
  };
}

/** The names of the modules that handle each type, hosted by this process or not. */
export function consumersByType(modules: readonly Type[]): Map<string, string[]> {
  const consumers = new Map<string, string[]>();
  for (const { type, module } of declaredHandlers(modules))
    consumers.set(type, [...(consumers.get(type) ?? []), module]);
  return consumers;
}

/** A class that handles messages of a type, or answers a query of that name. */
export interface DeclaredHandler {
  readonly type: string;
  readonly module: string;
  /** The name of the class. */
  readonly name: string;
}

/** The handlers of all messages and queries of contracts, in the modules, hosted by this process or not. */
export function declaredHandlers(modules: readonly Type[]): DeclaredHandler[] {
  return modules.flatMap((module) =>
    providersOf(module).flatMap((handler) => {
      const command = commandOf(handler);
      const query = queryOf(handler);
      const types = [
        ...(command?.kind ? [command.type!] : []),
        ...eventsOf(handler).map(({ type }) => type),
        ...(query?.kind === 'query' ? [query.queryName] : []),
      ];
      return types.map((type) => ({ type, module: meshFeatureOf(module).name, name: handler.name }));
    }),
  );
}

function providersOf(module: Type): Type[] {
  const providers = (Reflect.getMetadata(NEST_KEYS.providers, module) ?? []) as unknown[];
  return providers
    .map((it) => (typeof it === 'function' ? it : (it as { useClass?: unknown }).useClass))
    .filter((it) => typeof it === 'function') as Type[];
}

/** The event classes that a handler class handles. */
export function eventsOf(handler: Type): EventClass[] {
  return (Reflect.getMetadata(CQRS_KEYS.event, handler) as EventClass[] | undefined) ?? [];
}

/** The command class that a handler class handles, durable or not. */
export function commandOf(handler: Type): (Type & Partial<MessageClass>) | undefined {
  return Reflect.getMetadata(CQRS_KEYS.command, handler) as (Type & Partial<MessageClass>) | undefined;
}

/** The query class that a handler class answers. */
export function queryOf(handler: Type): QueryClass | undefined {
  return Reflect.getMetadata(CQRS_KEYS.query, handler) as QueryClass | undefined;
}

export function isSaga(handler: Type): boolean {
  return Reflect.hasMetadata(CQRS_KEYS.saga, handler);
}
