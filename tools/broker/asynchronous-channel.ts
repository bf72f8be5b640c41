import { setTimeout as wait } from 'node:timers/promises';
import { DATABASE_PAUSE_MS, MESSAGE_UNIT } from '../../src/infrastructure/delivery/consumer.js';
import type { SqlValue } from '../../src/infrastructure/persistence/sql.js';
import type { UnitOfWork } from '../../src/infrastructure/persistence/unit-of-work.js';
import { insertDeadLetter } from '../../src/infrastructure/store/dead-letter-rows.js';
import { claimDelivery, insertDeliveryRows, type Delivery } from '../../src/infrastructure/store/delivery-rows.js';
import { partitionKeyOf } from '../../src/infrastructure/store/row-parameters.js';
import { RefusedError } from '../errors.js';
import type { Channel } from './channel.js';
import { deadLetter, type Consumer, type Handled } from './consumers.js';
import { DeliveryRefused } from './delivery-errors.js';
import { newDeliveries } from './new-deliveries.js';
import type { Reporter } from './reporter.js';
import type { Outcome, Retries } from './retries.js';
import type { StoredEvent } from './stored-event.js';
import { accept } from './wire.js';

/** What the channel needs of its broker. */
interface Context {
  readonly consumersOf: (event: StoredEvent) => readonly Consumer[];
  readonly work: UnitOfWork;
  readonly retries: Retries;
  readonly reporter: Reporter;
  /** The address of the ingress of a broker, to which replies go. */
  readonly addressOf: (broker: string) => string;
  /** Is aborted when the broker stops. Deliveries without an outcome are repeated after the next start. */
  readonly stopping: AbortSignal;
}

/**
 * The channel of Knative 1.12: the publisher gets its answer at once. The real channel has the event in memory then, and
 * this one on disk: a row of `mesh_delivery` for each Trigger. A row is deleted in the unit of work that stores what follows
 * from it: a reply, a delivery to the dead letter sink, or a dead letter.
 */
export class AsynchronousChannel implements Channel {
  private readonly consumers: ReadonlyMap<string, Consumer>;
  private readonly deliveries = new Set<Promise<void>>();
  private lastSeq: Delivery['seq'] = 0;
  private isReading = false;
  private isWoken = false;

  constructor(
    subscribers: readonly Consumer[],
    private readonly context: Context,
  ) {
    const all = subscribers.flatMap((it) => (it.deadLetterSink ? [it, it.deadLetterSink] : [it]));
    this.consumers = new Map(all.map((it) => [it.name, it]));
  }

  async send(event: StoredEvent): Promise<void> {
    const consumers = namesOf(this.context.consumersOf(event));
    // Serialized before the unit of work, which may take 1 s at most.
    const rows = deliveryRows(event, consumers);
    await this.context.work.run(() => insertDeliveryRows(this.context.work.sql, rows));
    this.context.reporter.accepted(event, consumers);
    this.wake();
  }

  /** Whether there is anything to do but to wait for retries. */
  get isBusy(): boolean {
    return this.isReading || this.deliveries.size > this.context.retries.waiting;
  }

  /** To be called after the stop was requested: resolves when nothing uses the database any more. */
  async stopped(): Promise<void> {
    while (this.isReading) await wait(5);
    await Promise.all(this.deliveries);
  }

  /** To be called after a commit of deliveries: starts them. */
  wake(): void {
    this.isWoken = true;
    if (!this.isReading && !this.context.stopping.aborted) void this.startNew();
  }

  private async startNew(): Promise<void> {
    this.isReading = true;
    try {
      while (this.isWoken && !this.context.stopping.aborted) {
        this.isWoken = false;
        for (const delivery of await newDeliveries(this.context.work.sql, this.lastSeq)) {
          // There may be more than one query returns.
          this.isWoken = true;
          this.lastSeq = delivery.seq;
          const consumer = this.consumers.get(delivery.consumer);
          if (consumer) this.start(consumer, delivery);
          else this.context.reporter.trouble(`no Trigger ${delivery.consumer} in the manifests: its messages wait`);
        }
      }
    } catch (error) {
      this.context.reporter.trouble('the database failed', error);
      setTimeout(() => this.wake(), DATABASE_PAUSE_MS);
    } finally {
      this.isReading = false;
    }
  }

  private start(consumer: Consumer, delivery: Delivery): void {
    const running = this.deliver(consumer, delivery).finally(() => this.deliveries.delete(running));
    this.deliveries.add(running);
  }

  /** Delivers, and stores the outcome; never throws. */
  private async deliver(consumer: Consumer, delivery: Delivery): Promise<void> {
    const { retries, reporter, stopping } = this.context;
    const event = delivery.event as StoredEvent;
    const attempt = async () => {
      const handled = await consumer.attempt(event, stopping);
      return handled.reply ? { ...handled, reply: this.acceptedReply(handled.reply) } : handled;
    };
    try {
      const outcome = await retries.run(attempt, consumer.policy, stopping, reporter.onRetry(event, consumer));
      await this.finish(delivery, this.storing(consumer, event, outcome));
      if ('value' in outcome) reporter.delivered(event, consumer, outcome.value);
      else reporter.failedForGood(event, consumer, outcome.error, consumer.deadLetterSink === undefined);
      this.wake();
    } catch {
      // The broker is stopping. The row is as it was.
    }
  }

  /** @throws DeliveryRefused for a reply that an ingress refuses */
  private acceptedReply(reply: StoredEvent): StoredEvent {
    try {
      return accept(reply);
    } catch (error) {
      if (!(error instanceof RefusedError)) throw error;
      const info = { destination: this.context.addressOf(reply._mesh.broker), code: 400, body: '' };
      throw new DeliveryRefused(`its reply failed: ${error.message}`, info);
    }
  }

  /** @returns how to store what follows from an outcome, in an open unit of work */
  private storing(consumer: Consumer, event: StoredEvent, outcome: Outcome<Handled>): () => Promise<void> {
    const { work } = this.context;
    if ('error' in outcome && !consumer.deadLetterSink)
      return () => insertDeadLetter(work.sql, { ...outcome, event, consumer: consumer.name });
    const rows = 'error' in outcome ? sinkRows(consumer, event, outcome.error) : this.replyRows(outcome.value);
    return () => insertDeliveryRows(work.sql, rows);
  }

  private replyRows({ reply }: Handled): SqlValue[][] {
    return reply ? deliveryRows(reply, namesOf(this.context.consumersOf(reply))) : [];
  }

  /** Ends a delivery in one unit of work, and repeats the unit until the database works. @throws when the broker stops */
  private async finish(delivery: Delivery, storeOutcome: () => Promise<void>): Promise<void> {
    for (; ; await wait(DATABASE_PAUSE_MS, undefined, { signal: this.context.stopping })) {
      try {
        return await this.context.work.run(async () => {
          if (await claimDelivery(this.context.work.sql, delivery)) await storeOutcome();
        }, MESSAGE_UNIT);
      } catch (error) {
        this.context.reporter.trouble('the database failed', error);
      }
    }
  }
}

function namesOf(consumers: readonly Consumer[]): string[] {
  return consumers.map(({ name }) => name);
}

function sinkRows({ deadLetterSink }: Consumer, event: StoredEvent, error: unknown): SqlValue[][] {
  return deadLetterSink ? deliveryRows(deadLetter(event, error), [deadLetterSink.name]) : [];
}

/** One row of `mesh_delivery` for each consumer. */
function deliveryRows(event: StoredEvent, consumers: readonly string[]): SqlValue[][] {
  const json = JSON.stringify(event);
  return consumers.map((consumer) => [consumer, event.id, event.type, partitionKeyOf(event), json, Date.now()]);
}
