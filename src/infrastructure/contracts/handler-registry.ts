import { Inject, Injectable, type OnModuleInit, type Type } from '@nestjs/common';
import { ModulesContainer } from '@nestjs/core';
import { CommandBus } from '@nestjs/cqrs';
import type {
  DurableCommandHandler,
  DurableEventHandler,
  DurableMessage,
  MessageClass,
  QueryClass,
} from './message.js';
import { CQRS, findMeshFeature, messagesIn, meshFeatureOf, type MeshFeatureOptions } from './mesh-feature.js';

/** A handler of durable messages, and the class to make them of. */
export interface Subscription {
  readonly consumer: string;
  readonly message: MessageClass;
  readonly handlerName: string;
  /** Undefined where the handler prepares nothing. */
  prepare(message: DurableMessage): Promise<unknown> | undefined;
  handle(message: DurableMessage, prepared: unknown): Promise<void>;
}

/** All modules that exist in the application, hosted by this process or not. */
export const ALL_MODULES = Symbol('ALL_MODULES');

/**
 * Who handles what in this process, found from the decorators of `@nestjs/cqrs`. Where the stock buses let the last of
 * two handlers win, or find out about a missing one when the first message comes, this one refuses to start.
 */
@Injectable()
export class HandlerRegistry implements OnModuleInit {
  private readonly owners = new Map<unknown, string>();
  private readonly byType = new Map<string, Subscription[]>();
  private readonly events = new Set<string>();
  private readonly hosted = new Set<string>();
  private readonly controllers = new Map<Type, string>();
  private readonly queryHandlers = new Map<QueryClass, string>();
  private readonly queries = new Map<string, QueryClass>();

  constructor(
    private readonly container: ModulesContainer,
    @Inject(ALL_MODULES) private readonly modules: readonly Type[],
  ) {}

  onModuleInit(): void {
    this.readContracts();
    const problems = this.findHandlers();
    problems.push(...this.unhandled());
    if (problems.length > 0) throw new Error(`The modules don't fit together:\n- ${problems.join('\n- ')}`);
  }

  /** The modules of this process that messages are delivered to. */
  get consumers(): string[] {
    return [...new Set([...this.byType.values()].flat().map(({ consumer }) => consumer))];
  }

  /** Who in this process wants messages of a type: one for a command, any number for an event. */
  subscriptions(type: string): readonly Subscription[] {
    return this.byType.get(type) ?? [];
  }

  /**
   * The names of those. Undefined for a command that nobody here handles, for a type that stands in no contract, and where
   * no module lives that could know.
   */
  consumersOf(type: string): readonly string[] | undefined {
    const found = this.subscriptions(type).map(({ consumer }) => consumer);
    return found.length > 0 || (this.events.has(type) && this.hosted.size > 0) ? found : undefined;
  }

  subscription(consumer: string, type: string): Subscription | undefined {
    return this.subscriptions(type).find((it) => it.consumer === consumer);
  }

  /** Whether a module lives in this process. */
  hosts(module: string): boolean {
    return this.hosted.has(module);
  }

  /** A query that a module of this process answers, by its name. */
  query(name: string): QueryClass | undefined {
    const found = this.queries.get(name);
    return found && this.queryHandlers.has(found) ? found : undefined;
  }

  /** The module that a controller belongs to. */
  moduleOf(controller: Type): string | undefined {
    return this.controllers.get(controller);
  }

  /** The module in whose contract a class stands. */
  owner(declaredClass: unknown): string | undefined {
    return this.owners.get(declaredClass);
  }

  private readContracts(): void {
    const types = new Map<string, string>();
    const names = new Set<string>();
    for (const { name, contract } of this.modules.map(meshFeatureOf)) {
      // One inbox for the two of them: what one has handled, the other would never get.
      if (names.has(name)) throw new Error(`two modules are called ${name}`);
      names.add(name);
      const { messages, queries } = messagesIn(contract);
      for (const it of [...messages, ...queries]) {
        // A query's name is its address where the module lives elsewhere.
        const type = it.kind === 'query' ? `query ${it.queryName}` : it.type;
        const other = types.get(type);
        if (other) throw new Error(`${type} is declared twice: by ${other} and by ${it.name}`);
        types.set(type, it.name);
        this.owners.set(it, name);
        if (it.kind === 'query') this.queries.set(it.queryName, it);
        if (it.kind === 'event') this.events.add(it.type);
      }
    }
  }

  private findHandlers(): string[] {
    const problems: string[] = [];
    const local = new Map<unknown, string>();
    for (const { metatype: nestModule, providers, controllers, imports } of this.container.values()) {
      for (const imported of imports) {
        if (imported.providers.get(CommandBus)?.metatype !== CommandBus) continue;
        problems.push(
          `${nestModule.name} imports CqrsModule, whose buses lose messages: leave it out, ours are global`,
        );
      }
      const host = findMeshFeature(nestModule);
      if (host) {
        this.hosted.add(host.name);
        for (const { metatype } of controllers.values()) this.controllers.set(metatype as Type, host.name);
      }
      for (const provider of providers.values()) {
        const handler = ((provider.instance as object | undefined)?.constructor ?? provider.metatype) as
          Type | undefined;
        if (!handler) continue;
        const metadata = (key: string) => Reflect.getMetadata(key, handler) as unknown;
        const command = metadata(CQRS.command) as (Type & Partial<MessageClass>) | undefined;
        const events = (metadata(CQRS.event) ?? []) as Partial<MessageClass>[];
        const answers = metadata(CQRS.query) as QueryClass | undefined;
        if (metadata(CQRS.saga)) problems.push(`${handler.name} is a saga, whose errors would vanish: write a handler`);
        if (command && command.kind === undefined) {
          const other = local.get(command);
          if (other) problems.push(`${command.name} is handled twice: by ${other} and by ${handler.name}`);
          local.set(command, handler.name);
        }
        const durable = [...(command?.kind ? [command] : []), ...events] as MessageClass[];
        for (const message of durable) {
          problems.push(
            ...this.subscribe(message, handler, provider.instance, host, provider.isDependencyTreeStatic()),
          );
        }
        if (answers) problems.push(...this.answer(answers, handler, host));
      }
    }
    return problems;
  }

  private subscribe(
    message: MessageClass,
    handler: Type,
    instance: unknown,
    host: MeshFeatureOptions | undefined,
    isStatic: boolean,
  ): string[] {
    if (message.kind === undefined) {
      return [`${handler.name} listens to ${(message as Type).name}, which isn't durable: its errors would vanish`];
    }
    if (!host) return [`${handler.name} handles ${message.type} outside a module with @MeshFeature`];
    if (!isStatic) return [`${handler.name} is request-scoped; messages come without a request`];
    const owner = this.owners.get(message);
    if (!owner) return [`${handler.name} handles ${message.name}, which stands in no contract`];
    if (message.kind === 'command' && owner !== host.name) {
      return [`${handler.name} of ${host.name} handles ${message.type}, a command to ${owner}`];
    }
    const others = this.subscriptions(message.type);
    const rival = others.find(({ consumer }) => consumer === host.name);
    if (rival)
      return [`${message.type} is handled twice in ${host.name}: by ${rival.handlerName} and by ${handler.name}`];
    const target = instance as Partial<DurableCommandHandler<object, unknown> & DurableEventHandler<object, unknown>>;
    const method = message.kind === 'command' ? 'execute' : 'handle';
    if (typeof target[method] !== 'function') return [`${handler.name} handles ${message.type} without ${method}()`];
    const subscription: Subscription = {
      consumer: host.name,
      message,
      handlerName: handler.name,
      prepare: (it) => target.prepare?.(it),
      handle: (it, prepared) => target[method]!(it, prepared),
    };
    this.byType.set(message.type, [...others, subscription]);
    return [];
  }

  private answer(query: QueryClass, handler: Type, host: MeshFeatureOptions | undefined): string[] {
    const other = this.queryHandlers.get(query);
    this.queryHandlers.set(query, handler.name);
    if (other) return [`${query.name} is answered twice: by ${other} and by ${handler.name}`];
    if (this.owners.get(query) !== host?.name) {
      return [`${handler.name} answers ${query.name}, which isn't in the contract of its own module`];
    }
    return [];
  }

  /** Commands and queries of hosted modules that nobody handles. */
  private unhandled(): string[] {
    const missing: string[] = [];
    for (const [it, owner] of this.owners as Map<MessageClass | QueryClass, string>) {
      if (!this.hosted.has(owner)) continue;
      if (it.kind === 'command' && this.subscriptions(it.type).length === 0)
        missing.push(`${owner} doesn't handle ${it.type}`);
      if (it.kind === 'query' && !this.queryHandlers.has(it)) missing.push(`${owner} doesn't answer ${it.name}`);
    }
    return missing;
  }
}
