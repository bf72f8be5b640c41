import { Inject, Injectable, type OnModuleInit, type Type } from '@nestjs/common';
import { ModulesContainer } from '@nestjs/core';
import { findHandlers, type Effect, type Handlers, type Subscription } from './find-handlers.js';
import { meshFeatureOf, messagesIn } from './mesh-feature.js';
import { preferBusesOfProcess } from './module-buses.js';
import { permittedSenders, type MessageClass, type QueryClass } from './message.js';

/** The injection token of all modules of the application, hosted by this process or not. */
export const ALL_MODULES = Symbol('ALL_MODULES');

/**
 * Which module handles what in this process, found from the decorators of `@nestjs/cqrs`. The stock buses let the second
 * of two handlers win and notice a missing handler with the first message; this registry refuses to start.
 */
@Injectable()
export class HandlerRegistry implements OnModuleInit {
  private readonly owners = new Map<unknown, string>();
  private readonly messages = new Map<string, MessageClass>();
  private readonly queries = new Map<string, QueryClass>();
  private handlers: Handlers = {
    byType: new Map(),
    hosted: new Set(),
    queryHandlers: new Map(),
    problems: [],
  };

  constructor(
    private readonly container: ModulesContainer,
    @Inject(ALL_MODULES) private readonly modules: readonly Type[],
  ) {
    preferBusesOfProcess(container);
  }

  /** @throws Error that lists everything that is wrong with the contracts and handlers */
  onModuleInit(): void {
    this.readContracts();
    this.handlers = findHandlers(this.container, this.owners);
    const problems = [...this.handlers.problems, ...this.unhandled(), ...this.unknownSenders()];
    if (problems.length > 0) throw new Error(`The modules don't fit together:\n- ${problems.join('\n- ')}`);
  }

  /** The modules of this process. */
  get hosted(): string[] {
    return [...this.handlers.hosted];
  }

  /** The types that have handlers in this process; those of one consumer, if it is given. */
  handledTypes(consumer?: string): string[] {
    const types = [...this.handlers.byType.keys()];
    return consumer === undefined ? types : types.filter((type) => this.subscription(consumer, type));
  }

  /** The types for which `consumersOf()` is defined. */
  get knownTypes(): string[] {
    const events = [...this.messages.keys()].filter((type) => this.consumersOf(type));
    return [...new Set([...this.handledTypes(), ...events])];
  }

  /** The handlers of a type in this process: one for a command, any number for an event. */
  subscriptions(type: string): readonly Subscription[] {
    return this.handlers.byType.get(type) ?? [];
  }

  subscription(consumer: string, type: string): Subscription | undefined {
    return this.subscriptions(type).find((it) => it.consumer === consumer);
  }

  /**
   * The consumers of a type in this process. Undefined for a command without a handler here, for a type that is in no
   * contract, and in a process that hosts no module.
   */
  consumersOf(type: string): readonly string[] | undefined {
    const found = this.subscriptions(type).map(({ consumer }) => consumer);
    const isEvent = this.messages.get(type)?.kind === 'event';
    return found.length > 0 || (isEvent && this.handlers.hosted.size > 0) ? found : undefined;
  }

  /** The effects of the modules of this process, with the class of their messages. */
  get effects(): { readonly effect: Effect; readonly message: MessageClass; readonly module: string }[] {
    return [...this.handlers.byType.values()]
      .flat()
      .flatMap(({ effect, message, consumer }) => (effect ? [{ effect, message, module: consumer }] : []));
  }

  hasEffect(consumer: string): boolean {
    return this.effects.some(({ effect }) => effect.consumer === consumer);
  }

  /** Whether this process hosts a module. */
  hosts(module: string): boolean {
    return this.handlers.hosted.has(module);
  }

  /** The class of a type that stands in a contract. */
  message(type: string): MessageClass | undefined {
    return this.messages.get(type);
  }

  /** A query that a module of this process answers, by its name. */
  query(name: string): QueryClass | undefined {
    const found = this.queries.get(name);
    return found && this.handlers.queryHandlers.has(found) ? found : undefined;
  }

  /** The module whose contract declares a class. */
  owner(declaredClass: unknown): string | undefined {
    return this.owners.get(declaredClass);
  }

  private readContracts(): void {
    const names = new Set<string>();
    const declaredBy = new Map<string, string>();
    for (const { name, contract } of this.modules.map(meshFeatureOf)) {
      // Two modules of one name would share an inbox: what one has handled, the other would never get.
      if (names.has(name)) throw new Error(`two modules are called ${name}: rename one of them in @MeshFeature`);
      names.add(name);
      const { messages, queries } = messagesIn(contract);
      for (const it of [...messages, ...queries]) {
        // The name of a query is its address where another process hosts the module.
        const type = it.kind === 'query' ? `query ${it.queryName}` : it.type;
        const other = declaredBy.get(type);
        if (other) throw new Error(`${type} is declared twice: by ${other} and by ${it.name}`);
        declaredBy.set(type, it.name);
        this.owners.set(it, name);
        if (it.kind === 'query') this.queries.set(it.queryName, it);
        else this.messages.set(it.type, it);
      }
    }
  }

  /** Senders in contracts that are neither a module nor the source of another system. */
  private unknownSenders(): string[] {
    const modules = new Set(this.modules.map((it) => meshFeatureOf(it).name));
    return [...(this.owners as Map<MessageClass | QueryClass, string>)].flatMap(([it, owner]) => {
      const senders = permittedSenders(it, owner).filter((sender) => !modules.has(sender));
      const unknown = it.kind === 'query' ? senders : senders.filter((sender) => !/[:/]/.test(sender));
      return unknown.map(
        (sender) => `the contract of ${owner} lets ${sender} use ${it.name}, but there is no such module`,
      );
    });
  }

  /** Commands and queries of hosted modules that have no handler. */
  private unhandled(): string[] {
    const missing: string[] = [];
    for (const [it, owner] of this.owners as Map<MessageClass | QueryClass, string>) {
      if (!this.hosts(owner)) continue;
      if (it.kind === 'command' && this.subscriptions(it.type).length === 0)
        missing.push(`${owner} doesn't handle ${it.type}`);
      if (it.kind === 'query' && !this.handlers.queryHandlers.has(it))
        missing.push(`${owner} doesn't answer ${it.name}`);
    }
    return missing;
  }
}
