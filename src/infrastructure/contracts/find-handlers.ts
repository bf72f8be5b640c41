import type { Type } from '@nestjs/common';
import type { ModulesContainer } from '@nestjs/core';
import { CommandBus } from '@nestjs/cqrs';
import { commandOf, eventsOf, findMeshFeature, isSaga, queryOf, type MeshFeatureOptions } from './mesh-feature.js';
import type { DurableCommandBatchHandler, DurableEventBatchHandler } from './batch-handler.js';
import type {
  DurableCommandHandler,
  DurableEventHandler,
  DurableMessage,
  EffectHandler,
  MessageClass,
  QueryClass,
} from './message.js';

/** What a module does with a durable message, and the class to parse the message into. Made in `HandlerFinder.subscribe()`. */
export interface Subscription {
  readonly consumer: string;
  readonly message: MessageClass;
  /** In the unit of work that records the message. */
  handler?: UnitHandler;
  /** After its commit. */
  effect?: Effect;
}

export interface UnitHandler {
  readonly name: string;
  /** Undefined where the handler has no `prepare()`. */
  prepare(message: DurableMessage): Promise<unknown> | undefined;
  handle(message: DurableMessage, prepared: unknown): Promise<void>;
  /** Absent where the handler takes one message at a time. */
  handleMany?: DurableEventBatchHandler<DurableMessage, unknown>['handleMany'];
}

/** A handler with `perform()`. */
export interface Effect extends Pick<EffectHandler<object>, 'policy' | 'perform'> {
  readonly name: string;
  /** The consumer of its deliveries. */
  readonly consumer: string;
}

/** An effect has deliveries of its own, so that it neither waits for the other handlers of its module nor delays them. */
export function effectConsumerName(module: string, type: string): string {
  return `${module}/${type}`;
}

/** Whether a consumer is the effect of a module; others are modules, and addresses. */
export function isEffectConsumer(name: string): boolean {
  return /^[a-z][\w-]*\//.test(name);
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

type Target = DurableCommandHandler<object, unknown> &
  DurableCommandBatchHandler<DurableMessage, unknown> &
  DurableEventHandler<object, unknown> &
  DurableEventBatchHandler<DurableMessage, unknown> &
  EffectHandler<object>;

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
    return this.add(message, handler, instance, host.name);
  }

  /** @returns what is wrong */
  private add(message: MessageClass, { name }: Type, instance: unknown, module: string): string | undefined {
    const target = instance as Partial<Target>;
    const [method, many] =
      message.kind === 'command' ? (['execute', 'executeMany'] as const) : (['handle', 'handleMany'] as const);
    const [hasOne, hasMany] = [typeof target[method] === 'function', typeof target[many] === 'function'];
    const [handles, performs] = [hasOne || hasMany, typeof target.perform === 'function'];
    if (!handles && !performs) return `${name} handles ${message.type} without ${method}() or perform()`;
    if (performs && target.prepare) return `${name} has prepare() and perform(): perform() can do what prepare() does`;
    const known = this.found.byType.get(message.type) ?? [];
    const subscription = known.find(({ consumer }) => consumer === module) ?? { consumer: module, message };
    const other = (handles && subscription.handler) || (performs && subscription.effect);
    if (other) return `${message.type} is handled twice in ${module}: by ${other.name} and by ${name}`;
    if (handles) {
      subscription.handler = {
        name,
        prepare: (it) => target.prepare?.(it),
        handle: (it, prepared) =>
          hasOne ? target[method]!(it, prepared) : target[many]!([it], (_, work) => work(), [prepared]),
        ...(hasMany && { handleMany: (...batch) => target[many]!(...batch) }),
      };
    }
    if (performs) {
      subscription.effect = {
        name,
        consumer: effectConsumerName(module, message.type),
        ...(target.policy && { policy: target.policy }),
        perform: (it, attempt) => target.perform!(it, attempt),
      };
    }
    if (!known.includes(subscription)) this.found.byType.set(message.type, [...known, subscription]);
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
