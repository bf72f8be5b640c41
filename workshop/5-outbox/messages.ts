import {
  Global,
  Injectable,
  Logger,
  Module,
  type BeforeApplicationShutdown,
  type OnApplicationBootstrap,
} from '@nestjs/common';
import { CommandBus, type ICommand, type IEvent } from '@nestjs/cqrs';
import { v7 as uuidv7 } from 'uuid';
import { Transactions } from '../shared/transactions.js';
import * as drivers from './drivers/contract.js';
import * as geolocation from './geolocation/contract.js';
import * as invoicing from './invoicing/contract.js';
import * as loyalty from './loyalty/contract.js';
import * as rides from './rides/contract.js';

type Listener<Event> = (event: Event) => Promise<void>;

/** The classes of all messages, by the name in the outbox column `type`. */
const MESSAGES = { ...drivers, ...geolocation, ...invoicing, ...loyalty, ...rides } as unknown as Record<
  string,
  new (data: unknown) => { data: object }
>;

/** Rows that the relay reads at a time. */
const BATCH = 50;
/** Pause between polls for rows whose retry is due, and the first pause before a retry, in ms. */
const POLL_MS = 200;
/** Longest pause before a retry, in ms. */
const MAX_BACKOFF_MS = 5000;

interface Row {
  readonly seq: number;
  readonly type: string;
  readonly data: string;
  readonly attempts: number;
}

/**
 * Sends commands and events through an outbox: a message is a row, written in the same transaction as the state change
 * that causes it. The relay delivers each row until its handler succeeds and then deletes it, so delivery is at least
 * once: a message that is delivered twice has its effects twice.
 */
@Injectable()
export class Messages implements OnApplicationBootstrap, BeforeApplicationShutdown {
  private readonly logger = new Logger('Messages');
  private readonly listeners = new Map<unknown, Listener<never>[]>();
  private poll?: NodeJS.Timeout;
  private relaying?: Promise<void>;
  private isDirty = false;

  constructor(
    private readonly transactions: Transactions,
    private readonly commands: CommandBus,
  ) {}

  /** Call it inside a transaction: the message is committed with it. */
  send(command: ICommand): void {
    this.add(command);
  }

  /** Call it inside a transaction: the message is committed with it. */
  publish(event: IEvent): void {
    this.add(event);
  }

  /** Nest's EventBus loses what a listener throws, so listeners subscribe here. */
  on<Event>(type: new (data: never) => Event, listener: Listener<Event>): void {
    this.listeners.set(type, [...(this.listeners.get(type) ?? []), listener]);
  }

  async onApplicationBootstrap(): Promise<void> {
    await this.transactions.run((manager) =>
      manager.query(`CREATE TABLE IF NOT EXISTS outbox (
        seq integer PRIMARY KEY, id text NOT NULL, type text NOT NULL, data text NOT NULL,
        attempts integer NOT NULL DEFAULT 0, due_at integer NOT NULL
      )`),
    );
    this.poll = setInterval(() => this.wake(), POLL_MS);
  }

  async beforeApplicationShutdown(): Promise<void> {
    clearInterval(this.poll);
    await this.relaying;
  }

  private add(message: ICommand | IEvent): void {
    const { data } = message as { data: object };
    const row = [uuidv7(), message.constructor.name, JSON.stringify(data), Date.now()];
    const insert = 'INSERT INTO outbox (id, type, data, due_at) VALUES (?, ?, ?, ?)';
    this.transactions.beforeCommit(() => this.transactions.manager.query(insert, row));
    this.transactions.afterCommit(() => this.wake());
  }

  private wake(): void {
    this.isDirty = true;
    this.relaying ??= this.relayDue().finally(() => (this.relaying = undefined));
  }

  private async relayDue(): Promise<void> {
    while (this.isDirty) {
      this.isDirty = false;
      const due = 'SELECT seq, type, data, attempts FROM outbox WHERE due_at <= ? ORDER BY seq LIMIT ?';
      const rows = await this.transactions.manager.query<Row[]>(due, [Date.now(), BATCH]);
      await Promise.all(rows.map((row) => this.relay(row)));
      if (rows.length > 0) this.isDirty = true;
    }
  }

  /** At least once: a crash between the handler's commit and the DELETE leaves the row, and it is delivered again. */
  private async relay({ seq, type, data, attempts }: Row): Promise<void> {
    try {
      await this.deliver(new MESSAGES[type]!(JSON.parse(data)));
      await this.transactions.run((manager) => manager.query('DELETE FROM outbox WHERE seq = ?', [seq]));
    } catch (error) {
      const dueAt = Date.now() + Math.min(POLL_MS * 2 ** attempts, MAX_BACKOFF_MS);
      this.logger.warn(`${type} failed and will be retried: ${(error as Error).message}`);
      await this.transactions.run((manager) =>
        manager.query('UPDATE outbox SET attempts = attempts + 1, due_at = ? WHERE seq = ?', [dueAt, seq]),
      );
    }
  }

  private async deliver(message: ICommand | IEvent): Promise<void> {
    const listeners = this.listeners.get(message.constructor);
    if (!listeners) return void (await this.commands.execute(message));
    for (const listener of listeners) await listener(message as never);
  }
}

@Global()
@Module({ providers: [Messages], exports: [Messages] })
export class MessagesModule {}
