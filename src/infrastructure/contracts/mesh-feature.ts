import type { Type } from '@nestjs/common';
import type { EventClass, MessageClass, QueryClass } from './message.js';

/* What modules say of themselves, read without starting them. */

/** What a module is on the mesh: one consumer of messages, with a contract and tables of its own. */
export interface MeshFeatureOptions {
  /** Its name in sources, consumers and table prefixes. */
  readonly name: string;
  /** `import * as contract from './contract.js'` */
  readonly contract: object;
  readonly entities?: readonly (new () => object)[];
}

const MESH_FEATURE = Symbol('on-mesh');

/** Puts a Nest module on the mesh; stands beside `@Module`. */
export function MeshFeature(declaration: MeshFeatureOptions): ClassDecorator {
  return (target) => Reflect.defineMetadata(MESH_FEATURE, declaration, target);
}

/** What `@MeshFeature` says of a class, if it stands there. */
export function findMeshFeature(module: Type): MeshFeatureOptions | undefined {
  return Reflect.getMetadata(MESH_FEATURE, module) as MeshFeatureOptions | undefined;
}

/** @throws Error for a class without `@MeshFeature` */
export function meshFeatureOf(module: Type): MeshFeatureOptions {
  const declaration = findMeshFeature(module);
  if (!declaration) throw new Error(`${module.name} is not on the mesh: it lacks @MeshFeature`);
  return declaration;
}

/** The durable messages and queries that a contract declares. */
export function messagesIn(contract: object): { messages: MessageClass[]; queries: QueryClass[] } {
  const classes = Object.values(contract).filter((it) => typeof it === 'function') as Partial<
    MessageClass | QueryClass
  >[];
  return {
    messages: classes.filter((it) => it.kind === 'command' || it.kind === 'event') as MessageClass[],
    queries: classes.filter((it) => it.kind === 'query') as QueryClass[],
  };
}

/** The keys under which @nestjs/cqrs 12 keeps what its decorators say; it doesn't export them. */
export const CQRS = {
  command: '__commandHandler__',
  event: '__eventsHandler__',
  query: '__queryHandler__',
  saga: '__saga__',
};

/** Who wants messages of which type, hosted by this process or not: the names of the modules by type. */
export function consumersByType(modules: readonly Type[]): Map<string, string[]> {
  const consumers = new Map<string, string[]>();
  for (const module of modules) {
    const { name } = meshFeatureOf(module);
    const providers = (Reflect.getMetadata('providers', module) ?? []) as unknown[];
    for (const provider of providers) {
      const handler = (
        typeof provider === 'function' ? provider : (provider as { useClass?: unknown }).useClass
      ) as Type;
      if (typeof handler !== 'function') continue;
      const command = handlesCommand(handler);
      const types = [...(command?.kind ? [command.type!] : []), ...listensTo(handler).map(({ type }) => type)];
      for (const type of types) consumers.set(type, [...(consumers.get(type) ?? []), name]);
    }
  }
  return consumers;
}

/** The event classes that a handler class listens to; for documentation. */
export function listensTo(handler: Type): EventClass[] {
  return (Reflect.getMetadata(CQRS.event, handler) as EventClass[] | undefined) ?? [];
}

/** The command class that a handler class handles; for documentation. */
export function handlesCommand(handler: Type): Partial<MessageClass> | undefined {
  return Reflect.getMetadata(CQRS.command, handler) as Partial<MessageClass> | undefined;
}

/** The query class that a handler class answers; for documentation. */
export function answersQuery(handler: Type): QueryClass | undefined {
  return Reflect.getMetadata(CQRS.query, handler) as QueryClass | undefined;
}
