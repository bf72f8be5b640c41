import { Inject, Injectable } from '@nestjs/common';
import { ModuleRef } from '@nestjs/core';
import {
  CommandBus,
  EventBus,
  QueryBus,
  UnhandledExceptionBus,
  type ICommand,
  type IEvent,
  type IQuery,
} from '@nestjs/cqrs';
import { UnitOfWork } from '../persistence/unit-of-work.js';
import { durableClass, type DurableMessage, type QueryClass } from '../contracts/message.js';
import { Outbox } from '../outbox/outbox.js';
import { HandlerRegistry } from '../contracts/handler-registry.js';
import { RemoteQueries } from './remote-queries.js';

/*
 * The three buses of @nestjs/cqrs for messages that must not be lost. They take the place of the stock ones in the
 * providers of CqrsModule, so that modules inject CommandBus, QueryBus and EventBus as ever. (@nestjs/cqrs has to be
 * injected by token here: its own constructors ask for classes that it replaces.)
 */

/** A durable command goes to the outbox; any other to its handler, at once. */
@Injectable()
export class MeshCommandBus extends CommandBus {
  constructor(
    moduleRef: ModuleRef,
    @Inject(UnitOfWork) private readonly work: UnitOfWork,
    @Inject(Outbox) private readonly outbox: Outbox,
  ) {
    super(moduleRef);
  }

  /** The registry subscribes the handlers of durable commands. */
  override register(handlers: Parameters<CommandBus['register']>[0] = []): void {
    super.register(handlers.filter(({ metatype }) => !isDurable(metatype, '__commandHandler__')));
  }

  /**
   * Inside a unit of work a durable command is staged at once and kept when the unit commits. Outside one it gets a
   * unit of its own; the promise resolves after the commit.
   */
  override execute<Result = void>(command: ICommand): Promise<Result> {
    if (!durableClass(command)) return super.execute<ICommand, Result>(command);
    const stage = async () => this.outbox.stage(command as DurableMessage) as Result;
    return this.work.run(stage);
  }
}

/** Events go to the outbox; there is no way past it. */
@Injectable()
export class MeshEventBus extends EventBus {
  constructor(
    commandBus: CommandBus,
    moduleRef: ModuleRef,
    unhandled: UnhandledExceptionBus,
    @Inject(Outbox) private readonly outbox: Outbox,
  ) {
    super(commandBus, moduleRef, unhandled);
  }

  /** The registry subscribes all listeners. */
  override register(): void {}

  /** @throws Error outside a unit of work, and for an event that isn't durable: its listeners' errors would vanish */
  override publish<Event extends IEvent>(event: Event): void {
    if (!durableClass(event))
      throw new Error(`${event.constructor.name} isn't durable: declare it with durableEvent()`);
    this.outbox.stage(event as unknown as DurableMessage);
  }

  override publishAll<Event extends IEvent>(events: Event[]): void {
    for (const event of events) this.publish(event);
  }
}

/**
 * Queries are asked outside units of work, so that the code is the same when the other module is remote: then they are
 * asked over HTTP.
 */
@Injectable()
export class MeshQueryBus extends QueryBus {
  constructor(
    moduleRef: ModuleRef,
    @Inject(UnitOfWork) private readonly work: UnitOfWork,
    @Inject(HandlerRegistry) private readonly registry: HandlerRegistry,
    @Inject(RemoteQueries) private readonly remote: RemoteQueries,
  ) {
    super(moduleRef);
  }

  /**
   * @throws Error inside a unit of work: everybody would wait for the answer
   * @throws Unavailable when the module lives elsewhere and can't be asked now
   */
  override async execute<Q extends IQuery, Result = unknown>(query: Q): Promise<Result> {
    if (this.work.open) {
      throw new Error(
        `${query.constructor.name} was asked inside a unit of work: ask in prepare() or in front of the unit`,
      );
    }
    const declaration = query.constructor as unknown as QueryClass;
    const owner = this.registry.owner(declaration);
    if (owner === undefined || this.registry.hosts(owner)) return super.execute<Q, Result>(query);
    return this.remote.ask(owner, declaration, (query as unknown as { data: unknown }).data) as Promise<Result>;
  }
}

function isDurable(handler: unknown, key: string): boolean {
  const message = Reflect.getMetadata(key, handler as object) as { kind?: string } | undefined;
  return message?.kind !== undefined;
}
