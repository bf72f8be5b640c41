import { Global, Injectable, Logger, Module } from '@nestjs/common';
import { CommandBus, type ICommand, type IEvent } from '@nestjs/cqrs';
import { Transactions } from '../shared/transactions.js';

type Listener<Event> = (event: Event) => Promise<void>;

/**
 * Sends commands and events without waiting for what becomes of them: they leave when the open transaction has been
 * committed, and are carried out each in a transaction of its own. Until then they are in the memory of this process,
 * and nowhere else.
 */
@Injectable()
export class Messages {
  private readonly logger = new Logger('Messages');
  private readonly listeners = new Map<unknown, Listener<never>[]>();

  constructor(
    private readonly transactions: Transactions,
    private readonly commands: CommandBus,
  ) {}

  send(command: ICommand): void {
    this.later(() => this.commands.execute(command));
  }

  publish(event: IEvent): void {
    for (const listener of this.listeners.get(event.constructor) ?? []) this.later(() => listener(event as never));
  }

  /** Listens here and not at Nest's EventBus, which loses what a listener throws. */
  on<Event>(type: new (data: never) => Event, listener: Listener<Event>): void {
    this.listeners.set(type, [...(this.listeners.get(type) ?? []), listener]);
  }

  private later(deliver: () => Promise<unknown>): void {
    const go = () => void deliver().catch((error: unknown) => this.logger.error(error));
    this.transactions.afterCommit(() => setImmediate(go));
  }
}

@Global()
@Module({ providers: [Messages], exports: [Messages] })
export class MessagesModule {}
