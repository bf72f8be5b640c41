import { Injectable, type OnModuleInit } from '@nestjs/common';
import { ModulesContainer } from '@nestjs/core';
import { CommandBus, CqrsModule, EventBus, QueryBus, type ICommand, type IEvent, type IQuery } from '@nestjs/cqrs';
import { HandlerRegistry } from '../contracts/handler-registry.js';
import { durableClass } from '../contracts/message.js';
import { MeshEventBus } from './event-bus.js';

/**
 * The buses of a `CqrsModule` that the application imports itself. They go on carrying what is not on the mesh; durable
 * messages, and queries that stand in a contract, take the way of the mesh whichever bus they are given to. Events that
 * aren't durable go from the buses of the mesh to them.
 */
@Injectable()
export class HostBuses implements OnModuleInit {
  constructor(
    private readonly container: ModulesContainer,
    private readonly registry: HandlerRegistry,
    private readonly commands: CommandBus,
    private readonly events: EventBus,
    private readonly queries: QueryBus,
  ) {}

  onModuleInit(): void {
    for (const { metatype, providers } of this.container.values()) {
      if (metatype !== CqrsModule || providers.get(CommandBus)?.metatype !== CommandBus) continue;
      this.connectCommands(providers.get(CommandBus)!.instance as CommandBus);
      this.connectEvents(providers.get(EventBus)!.instance as EventBus);
      this.connectQueries(providers.get(QueryBus)!.instance as QueryBus);
    }
  }

  private connectCommands(bus: CommandBus): void {
    const execute = bus.execute.bind(bus) as (command: ICommand, ...rest: unknown[]) => Promise<unknown>;
    const divert = (command: ICommand, ...rest: unknown[]) =>
      durableClass(command) ? this.commands.execute<ICommand, unknown>(command) : execute(command, ...rest);
    Object.assign(bus, { execute: divert });
  }

  private connectEvents(bus: EventBus): void {
    const publish = bus.publish.bind(bus) as (event: IEvent, ...rest: unknown[]) => unknown;
    const divert = (event: IEvent, ...rest: unknown[]) =>
      durableClass(event) ? (this.events.publish(event) as unknown) : publish(event, ...rest);
    const divertAll = (events: IEvent[], ...rest: unknown[]) => events.map((event) => divert(event, ...rest));
    Object.assign(bus, { publish: divert, publishAll: divertAll });
    (this.events as MeshEventBus).passOn(publish);
  }

  private connectQueries(bus: QueryBus): void {
    const execute: (query: IQuery, ...rest: never[]) => Promise<unknown> = bus.execute.bind(bus);
    const divert = (query: IQuery, ...rest: never[]): Promise<unknown> =>
      this.registry.owner(query.constructor) === undefined ? execute(query, ...rest) : this.queries.execute(query);
    Object.assign(bus, { execute: divert });
  }
}
