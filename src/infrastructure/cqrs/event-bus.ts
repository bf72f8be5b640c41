import { Inject, Injectable } from '@nestjs/common';
import { ModuleRef } from '@nestjs/core';
import { CommandBus, EventBus, UnhandledExceptionBus, type IEvent } from '@nestjs/cqrs';
import type { ModuleBus } from '../contracts/module-buses.js';
import { durableClass, type DurableMessage } from '../contracts/message.js';
import { Outbox } from '../outbox/outbox.js';

/** Sends every event to the outbox. It replaces the stock bus in the providers of CqrsModule. */
@Injectable()
export class MeshEventBus extends EventBus implements ModuleBus<EventBus> {
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

  /** @throws Error outside a unit of work, and for an event that isn't durable, because errors of its handlers would vanish */
  override publish<Event extends IEvent>(event: Event): void {
    if (!durableClass(event))
      throw new Error(`${event.constructor.name} isn't durable: declare it with durableEvent()`);
    this.outbox.add(event as unknown as DurableMessage);
  }

  override publishAll<Event extends IEvent>(events: Event[]): void {
    for (const event of events) this.publish(event);
  }
}
