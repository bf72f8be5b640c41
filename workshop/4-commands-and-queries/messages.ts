import { Global, Injectable, Logger, Module } from '@nestjs/common';
import { CommandBus, type ICommand, type IEvent } from '@nestjs/cqrs';
import { Transactions } from '../shared/transactions.js';

type Listener<Event> = (event: Event) => Promise<void>;

/**
 * Sends commands and events after the commit of the open transaction, without waiting for their handlers. Each message
 * is handled in a transaction of its own. A message exists only in the memory of this process.
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
    this.afterCommit(() => this.commands.execute(command));
  }

  publish(event: IEvent): void {
    for (const listener of this.listeners.get(event.constructor) ?? [])
      this.afterCommit(() => listener(event as never));
  }

  /** Nest's EventBus loses what a listener throws, so listeners subscribe here. */
  on<Event>(type: new (data: never) => Event, listener: Listener<Event>): void {
    this.listeners.set(type, [...(this.listeners.get(type) ?? []), listener]);
  }

  private afterCommit(deliver: () => Promise<unknown>): void {
    const go = () => void deliver().catch((error: unknown) => this.logger.error(error));
    this.transactions.afterCommit(() => setImmediate(go));
  }
}

@Global()
@Module({ providers: [Messages], exports: [Messages] })
export class MessagesModule {}
