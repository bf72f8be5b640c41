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
import { handling, INBOX_TABLE } from './inbox.js';
import * as invoicing from './invoicing/contract.js';
import * as loyalty from './loyalty/contract.js';
import * as rides from './rides/contract.js';

type Listener<Event> = (event: Event) => Promise<void>;

/** All that can be sent, by its name in the outbox. */
const MESSAGES = { ...drivers, ...geolocation, ...invoicing, ...loyalty, ...rides } as unknown as Record<
  string,
  new (data: unknown) => { data: object }
>;

/** Rows that are looked at together, and the longest pauses between looks and between tries, in ms. */
const BATCH = 50;
const POLL_MS = 200;
const LONGEST_WAIT_MS = 5000;

interface Row {
  readonly seq: number;
  readonly id: string;
  readonly type: string;
  readonly data: string;
  readonly attempts: number;
}

/**
 * Sends commands and events: they are rows of the outbox, written in the open transaction together with the state that
 * they follow from, so that there is either both or neither. The relay hands them to whoever they are for, again and
 * again until that has worked, and only then removes the row. What is handed over twice is recognised by its id.
 */
@Injectable()
export class Messages implements OnApplicationBootstrap, BeforeApplicationShutdown {
  private readonly logger = new Logger('Messages');
  private readonly listeners = new Map<unknown, Listener<never>[]>();
  private poll?: NodeJS.Timeout;
  private looking?: Promise<void>;
  private isWanted = false;

  constructor(
    private readonly transactions: Transactions,
    private readonly commands: CommandBus,
  ) {}

  /** Inside a transaction, which it becomes part of. */
  send(command: ICommand): void {
    this.stage(command);
  }

  /** Inside a transaction, which it becomes part of. */
  publish(event: IEvent): void {
    this.stage(event);
  }

  /** Listens here and not at Nest's EventBus, which loses what a listener throws. */
  on<Event>(type: new (data: never) => Event, listener: Listener<Event>): void {
    this.listeners.set(type, [...(this.listeners.get(type) ?? []), listener]);
  }

  async onApplicationBootstrap(): Promise<void> {
    await this.transactions.run(async (manager) => {
      await manager.query(`CREATE TABLE IF NOT EXISTS outbox (
        seq integer PRIMARY KEY, id text NOT NULL, type text NOT NULL, data text NOT NULL,
        attempts integer NOT NULL DEFAULT 0, due_at integer NOT NULL
      )`);
      await manager.query(INBOX_TABLE);
    });
    this.poll = setInterval(() => this.wake(), POLL_MS);
  }

  async beforeApplicationShutdown(): Promise<void> {
    clearInterval(this.poll);
    await this.looking;
  }

  private stage(message: ICommand | IEvent): void {
    const { data } = message as { data: object };
    const row = [uuidv7(), message.constructor.name, JSON.stringify(data), Date.now()];
    const insert = 'INSERT INTO outbox (id, type, data, due_at) VALUES (?, ?, ?, ?)';
    this.transactions.beforeCommit(() => this.transactions.manager.query(insert, row));
    this.transactions.afterCommit(() => this.wake());
  }

  private wake(): void {
    this.isWanted = true;
    this.looking ??= this.look().finally(() => (this.looking = undefined));
  }

  private async look(): Promise<void> {
    while (this.isWanted) {
      this.isWanted = false;
      const due = 'SELECT seq, id, type, data, attempts FROM outbox WHERE due_at <= ? ORDER BY seq LIMIT ?';
      const rows = await this.transactions.manager.query<Row[]>(due, [Date.now(), BATCH]);
      await Promise.all(rows.map((row) => this.relay(row)));
      if (rows.length > 0) this.isWanted = true;
    }
  }

  /** At least once: between the handler's commit and the removal of the row there is a moment in which one can die. */
  private async relay({ seq, id, type, data, attempts }: Row): Promise<void> {
    try {
      await handling(id, () => this.deliver(new MESSAGES[type]!(JSON.parse(data))));
      await this.transactions.run((manager) => manager.query('DELETE FROM outbox WHERE seq = ?', [seq]));
    } catch (error) {
      const dueAt = Date.now() + Math.min(POLL_MS * 2 ** attempts, LONGEST_WAIT_MS);
      this.logger.warn(`${type} failed, and will be tried again: ${(error as Error).message}`);
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
