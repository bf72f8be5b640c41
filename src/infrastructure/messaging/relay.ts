import { AsyncLocalStorage } from 'node:async_hooks';
import { setTimeout as wait } from 'node:timers/promises';
import { Inject, Injectable, Logger } from '@nestjs/common';
import { UnitOfWork } from '../persistence/unit-of-work.js';
import { ConsumerRelay, MESSAGE, PAUSE_MS } from './consumer-relay.js';
import { fanOut } from './deliveries.js';
import { Outbox } from './outbox.js';
import { DELIVERY_POLICY, Receiver } from './receiver.js';
import { Registry } from './registry.js';
import type { DeliveryPolicy } from './retry.js';

/** Messages that one unit of work fans out. */
const FAN_OUT = 500;
/** The safety net for what no commit of this process announces, in ms. */
const POLL_MS = 1000;

/**
 * Carries messages from the outbox to their consumers, by way of the database alone: a message is in the outbox, or in
 * the deliveries of its consumers, or handled. Woken by the commit that left a message; a timer wakes it for retries.
 */
@Injectable()
export class Relay {
  private readonly logger = new Logger('Relay');
  private readonly outside = AsyncLocalStorage.snapshot();
  private readonly consumers = new Map<string, ConsumerRelay>();
  private poll?: NodeJS.Timeout;
  private publishing?: Promise<void>;
  private joining = false;
  private wanted = false;
  private stopped = true;

  constructor(
    private readonly work: UnitOfWork,
    private readonly outbox: Outbox,
    private readonly registry: Registry,
    private readonly receiver: Receiver,
    @Inject(DELIVERY_POLICY) private readonly policy: DeliveryPolicy,
  ) {
    outbox.onCommitted(() => this.wake());
    if (work.commitsGroups) outbox.onStaged(() => this.joinGroup());
  }

  /** Starts with whatever an earlier process left. */
  start(): void {
    this.stopped = false;
    for (const consumer of this.registry.consumers) {
      const relay = new ConsumerRelay(consumer, this.work, this.receiver, this.policy, this.logger);
      this.consumers.set(consumer, relay);
      relay.wake();
    }
    this.poll = setInterval(() => this.wake(), POLL_MS);
    this.wake();
  }

  /** Looks into the outbox, now or as soon as the present look is over. */
  wake(): void {
    this.wanted = true;
    if (this.stopped || this.publishing) return;
    // Outside: the loop belongs to nobody's request, though somebody's commit has woken it.
    this.publishing = this.outside(() => this.publish()).finally(() => {
      this.publishing = undefined;
      if (this.wanted) this.wake();
    });
  }

  /** For dead letters that were brought back: looks at the deliveries of a consumer. */
  wakeConsumer(consumer: string): void {
    this.consumers.get(consumer)?.wake();
  }

  get running(): boolean {
    return !this.stopped;
  }

  /** Delivers what can be delivered until `deadline` (ms since 1970), then lets go of the rest. */
  async stop(deadline: number): Promise<void> {
    const relays = [...this.consumers.values()];
    const busy = () => this.publishing !== undefined || this.wanted || relays.some((relay) => relay.busy);
    while (!this.stopped && busy() && Date.now() < deadline) await wait(5);
    this.stopped = true;
    clearInterval(this.poll);
    for (const relay of relays) relay.stop();
    // What has begun is short, or waits in a prepare() that may be cut off.
    while (relays.some((relay) => relay.busy) && Date.now() < deadline) await wait(5);
    await this.publishing;
  }

  /** Fans messages out with the very commit that leaves them, instead of with one of its own behind it. */
  private joinGroup(): void {
    if (this.joining || this.stopped) return;
    this.joining = true;
    const fannedOut = this.outside(() => this.work.run(() => this.fanOut(), { closesGroup: true }));
    fannedOut.then(
      ({ consumers }) => this.wakeAll(consumers),
      // Then the messages are where they were, and the commit that left them wakes us.
      () => (this.joining = false),
    );
  }

  private fanOut() {
    this.joining = false;
    const consumersOf = (type: string) => this.registry.subscriptions(type).map(({ consumer }) => consumer);
    return fanOut(this.work.sql, consumersOf, FAN_OUT);
  }

  private wakeAll(consumers: Iterable<string>): void {
    for (const consumer of consumers) this.consumers.get(consumer)?.wake();
  }

  private async publish(): Promise<void> {
    while (this.wanted && !this.stopped) {
      this.wanted = false;
      try {
        // The reading side first: a look into an empty outbox takes no lock and writes nothing.
        const [some] = await this.work.sql.all(`SELECT 1 FROM mesh_outbox LIMIT 1`);
        if (!some) continue;
        const { consumers, more } = await this.work.run(() => this.fanOut(), MESSAGE);
        if (more) this.wanted = true;
        this.wakeAll(consumers);
      } catch (error) {
        this.logger.warn({ err: error }, 'The outbox could not be read; trying again');
        await wait(PAUSE_MS);
        this.wanted = true;
      }
    }
  }
}
