import { Inject, Injectable, type Type } from '@nestjs/common';
import { ModuleRef } from '@nestjs/core';
import { CommandBus, type ICommand } from '@nestjs/cqrs';
import { commandOf } from '../contracts/mesh-feature.js';
import type { ModuleBus } from '../contracts/module-buses.js';
import { durableClass, type DurableMessage } from '../contracts/message.js';
import { Outbox } from '../outbox/outbox.js';
import { UnitOfWork } from '../persistence/unit-of-work.js';

/**
 * Sends durable commands to the outbox, and any other command to its handler at once. It replaces the stock bus in the
 * providers of CqrsModule, so that modules inject `CommandBus` as ever. Constructor parameters need `@Inject` here, because
 * the constructor of the stock bus has other types.
 */
@Injectable()
export class MeshCommandBus extends CommandBus implements ModuleBus<CommandBus> {
  constructor(
    moduleRef: ModuleRef,
    @Inject(UnitOfWork) private readonly work: UnitOfWork,
    @Inject(Outbox) private readonly outbox: Outbox,
  ) {
    super(moduleRef);
  }

  of(module: string): CommandBus {
    return Object.create(this, { outbox: { value: this.outbox.of(module) } }) as MeshCommandBus;
  }

  /** The handler registry subscribes the handlers of durable commands. */
  override register(handlers: Parameters<CommandBus['register']>[0] = []): void {
    super.register(handlers.filter(({ metatype }) => !metatype || commandOf(metatype as Type)?.kind === undefined));
  }

  /**
   * Inside a unit of work a durable command is written when the unit commits. Outside one it gets a unit of its own, and
   * the promise resolves after the commit.
   */
  override execute<Result = void>(command: ICommand): Promise<Result> {
    if (!durableClass(command)) return super.execute<ICommand, Result>(command);
    const add = async () => this.outbox.add(command as DurableMessage) as Result;
    return this.work.run(add);
  }
}
