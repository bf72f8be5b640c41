import type { Type } from '@nestjs/common';
import type { ModulesContainer } from '@nestjs/core';
import { CommandBus } from '@nestjs/cqrs';
import { commandOf, eventsOf, findMeshFeature, isSaga, queryOf, type MeshFeatureOptions } from './mesh-feature.js';
import type {
  DurableCommandHandler,
  DurableEventHandler,
  DurableMessage,
  MessageClass,
  QueryClass,
} from './message.js';

/** A handler of a durable message, and the class to parse the message into. Made in `HandlerFinder.subscribe()`. */
export interface Subscription {
  readonly consumer: string;
  readonly message: MessageClass;
  readonly handlerName: string;
  /** Undefined where the handler has no `prepare()`. */
  prepare(message: DurableMessage): Promise<unknown> | undefined;
  handle(message: DurableMessage, prepared: unknown): Promise<void>;
}

/** The handlers of this process, and what is wrong with them. */
export interface Handlers {
  readonly byType: Map<string, readonly Subscription[]>;
  /** Names of the modules that this process hosts. */
  readonly hosted: Set<string>;
  /** The name of the handler of each query. */
  readonly queryHandlers: Map<QueryClass, string>;
  readonly problems: string[];
}

/** @param owners the module whose contract declares a class */
export function findHandlers(container: ModulesContainer, owners: ReadonlyMap<unknown, string>): Handlers {
  const finder = new HandlerFinder(owners, hasStockBuses(container));
  for (const nestModule of container.values()) finder.visit(nestModule);
  return finder.found;
}

type NestModule = NonNullable<ReturnType<ModulesContainer['get']>>;

/** Whether the application imports CqrsModule itself, and so has buses for what isn't durable. */
function hasStockBuses(container: ModulesContainer): boolean {
  return [...container.values()].some(({ providers }) => providers.get(CommandBus)?.metatype === CommandBus);
}

class HandlerFinder {
  readonly found: Handlers = {
    byType: new Map(),
    hosted: new Set(),
    queryHandlers: new Map(),
    problems: [],
  };
  /** Handlers of commands that aren't durable. */
  private readonly local = new Map<unknown, string>();

  constructor(
    private readonly owners: ReadonlyMap<unknown, string>,
    private readonly hasStockBuses: boolean,
  ) {}

  visit({ metatype, providers }: NestModule): void {
    const host = findMeshFeature(metatype);
    if (host) {
      this.found.hosted.add(host.name);
      if (!providers.has(CommandBus))
        this.found.problems.push(`${metatype.name} has no buses of its own: put @MeshFeature above @Module`);
    }
    for (const provider of providers.values()) {
      const handler = ((provider.instance as object | undefined)?.constructor ?? provider.metatype) as Type | undefined;
      if (handler) this.visitHandler(handler, provider.instance, host, provider.isDependencyTreeStatic());
    }
  }

  private visitHandler(
    handler: Type,
    instance: unknown,
    host: MeshFeatureOptions | undefined,
    isStatic: boolean,
  ): void {
    const command = commandOf(handler);
    const query = queryOf(handler);
    if (isSaga(handler) && !this.hasStockBuses)
      this.found.problems.push(`${handler.name} is a saga, whose errors vanish: write an event handler instead`);
    if (command && command.kind === undefined && !this.hasStockBuses) {
      const other = this.local.get(command);
      if (other) this.found.problems.push(`${command.name} is handled twice: by ${other} and by ${handler.name}`);
      this.local.set(command, handler.name);
    }
    const messages = [...(command?.kind ? [command] : []), ...eventsOf(handler)] as MessageClass[];
    for (const message of messages) {
      if (message.kind === undefined && this.hasStockBuses) continue;
      const problem = this.subscribe(message, handler, instance, host, isStatic);
      if (problem) this.found.problems.push(problem);
    }
    // Queries that no contract declares stay inside the process.
    const problem = query?.kind === 'query' && this.answer(query, handler, host);
    if (problem) this.found.problems.push(problem);
  }

  /** @returns what is wrong */
  private subscribe(
    message: MessageClass,
    handler: Type,
    instance: unknown,
    host: MeshFeatureOptions | undefined,
    isStatic: boolean,
  ): string | undefined {
    if (message.kind === undefined)
      return `${handler.name} listens to ${(message as Type).name}, which isn't durable, so its errors vanish: use durableEvent()`;
    if (!host) return `${handler.name} handles ${message.type} outside a module with @MeshFeature`;
    if (!isStatic) return `${handler.name} is request-scoped, but messages come without a request`;
    const owner = this.owners.get(message);
    if (!owner) return `${handler.name} handles ${message.name}, which stands in no contract`;
    if (message.kind === 'command' && owner !== host.name)
      return `${handler.name} of ${host.name} handles ${message.type}, a command to ${owner}`;
    const others = this.found.byType.get(message.type) ?? [];
    const second = others.find(({ consumer }) => consumer === host.name);
    if (second)
      return `${message.type} is handled twice in ${host.name}: by ${second.handlerName} and by ${handler.name}`;
    const target = instance as Partial<DurableCommandHandler<object, unknown> & DurableEventHandler<object, unknown>>;
    const method = message.kind === 'command' ? 'execute' : 'handle';
    if (typeof target[method] !== 'function') return `${handler.name} handles ${message.type} without ${method}()`;
    const subscription: Subscription = {
      consumer: host.name,
      message,
      handlerName: handler.name,
      prepare: (it) => target.prepare?.(it),
      handle: (it, prepared) => target[method]!(it, prepared),
    };
    this.found.byType.set(message.type, [...others, subscription]);
    return undefined;
  }

  /** @returns what is wrong */
  private answer(query: QueryClass, handler: Type, host: MeshFeatureOptions | undefined): string | undefined {
    const other = this.found.queryHandlers.get(query);
    this.found.queryHandlers.set(query, handler.name);
    if (other) return `${query.name} is answered twice: by ${other} and by ${handler.name}`;
    if (this.owners.get(query) !== host?.name)
      return `${handler.name} answers ${query.name}, which isn't in the contract of its own module`;
    return undefined;
  }
}
