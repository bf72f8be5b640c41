import { Inject, Injectable } from '@nestjs/common';
import { ModuleRef } from '@nestjs/core';
import { CommandBus, EventBus, UnhandledExceptionBus, type IEvent } from '@nestjs/cqrs';
import type { ModuleBus } from '../contracts/module-buses.js';
import { durableClass, type DurableMessage } from '../contracts/message.js';
import { Outbox } from '../outbox/outbox.js';

/** Sends every durable event to the outbox. It replaces the stock bus in the providers of CqrsModule. */
@Injectable()
export class MeshEventBus extends EventBus implements ModuleBus<EventBus> {
  /** Shared by the buses of all modules. */
  private readonly stock: { publish?: (event: IEvent) => unknown } = {};

  constructor(
    commandBus: CommandBus,
    moduleRef: ModuleRef,
    unhandled: UnhandledExceptionBus,
    @Inject(Outbox) private readonly outbox: Outbox,
  ) {
    super(commandBus, moduleRef, unhandled);
  }

  of(module: string): EventBus {
    return Object.create(this, { outbox: { value: this.outbox.of(module) } }) as MeshEventBus;
  }

  /** The handler registry subscribes all event handlers. */
  override register(): void {}

  /** Gives events that aren't durable to the bus of a CqrsModule that the application imports itself. */
  passOn(publish: (event: IEvent) => unknown): void {
    this.stock.publish = publish;
  }

  /**
   * @throws Error outside a unit of work, and for an event that isn't durable where the application doesn't import
   *   CqrsModule itself, because errors of its handlers would vanish
   */
  override publish<Event extends IEvent>(event: Event): unknown {
    if (durableClass(event)) return this.outbox.add(event as unknown as DurableMessage);
    if (this.stock.publish) return this.stock.publish(event);
    throw new Error(`${event.constructor.name} isn't durable: declare it with durableEvent()`);
  }

  override publishAll<Event extends IEvent>(events: Event[]): void {
    for (const event of events) this.publish(event);
  }
}
