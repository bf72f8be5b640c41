import { setTimeout as wait } from 'node:timers/promises';
import type { Logger } from '@nestjs/common';
import type { UnitOfWork } from '../persistence/unit-of-work.js';
import { DeliveryWorker, type Consumer } from '../delivery/delivery-worker.js';
import { consumersWithDeliveries } from '../store/delivery-rows.js';
import { OUTBOX_RESOURCE, SHARDS, SINGLE_PROCESS, type LeaseScope } from '../leases/leases.js';

/** The safety net for what no commit of this process announces, in ms. */
const POLL_MS = 1000;

/** Takes messages out of the outbox: to the deliveries of this process, or to a broker. */
export interface OutboxDispatcher {
  /** Whether it has something to do that it can do now. */
  readonly isBusy: boolean;
  /** Why it can't go on without somebody's help, if that is so. */
  readonly suspendedReason?: string;
  /**
   * @param wakeConsumers for those who got deliveries
   * @param areBehind whether each of these consumers has more deliveries than it can begin with
   */
  start(wakeConsumers: (names: Iterable<string>) => void, areBehind: (names: Iterable<string>) => boolean): void;
  /** Looks into the outbox, now or as soon as the present look is over. */
  wake(): void;
  /** A unit of work is about to commit messages. */
  joinGroup?(): void;
  /** @param deadline when to let go of what is under way, on the clock of `performance.now()` */
  stop(deadline: number): Promise<void>;
}

/**
 * Carries messages on, by way of the database alone: a message is in the outbox, or in the deliveries of its consumers,
 * or handled, or accepted by a broker. Woken by the commit that left a message; timers wake it for retries.
 */
export class Relay {
  private readonly workers = new Map<string, DeliveryWorker>();
  private poll?: NodeJS.Timeout;
  private stopped = true;

  /**
   * @param share of the deliveries, where several processes work on this database
   * @param remoteConsumer consumers that aren't known from the start, by their name
   */
  constructor(
    private readonly work: UnitOfWork,
    private readonly dispatcher: OutboxDispatcher,
    private readonly logger: Logger,
    private readonly share: LeaseScope = SINGLE_PROCESS,
    private readonly remoteConsumer?: (name: string) => Consumer | undefined,
  ) {}

  /** Starts with whatever an earlier process left. */
  async start(consumers: readonly Consumer[]): Promise<void> {
    this.stopped = false;
    for (const consumer of consumers) this.add(consumer);
    await this.share.leases.start((what) => {
      if (what !== 'deliveries') this.dispatcher.wake();
      if (what === 'outbox') return;
      this.wakeAll(what === 'leases');
      this.findRemoteConsumers();
    });
    this.wakeAll();
    this.dispatcher.start(
      (names) => {
        for (const name of names) this.wakeConsumer(name);
      },
      (names) => [...names].every((name) => this.workers.get(name)?.isSaturated),
    );
    this.poll = setInterval(() => {
      this.dispatcher.wake();
      if (!this.hasOtherOwners(this.share.resource)) return;
      this.wakeAll();
      this.findRemoteConsumers();
    }, POLL_MS);
    for (const consumer of await consumersWithDeliveries(this.work.sql)) {
      if (this.workers.has(consumer)) continue;
      this.wakeConsumer(consumer);
      if (!this.workers.has(consumer))
        this.logger.warn({ consumer }, 'Messages wait here for a consumer that lives elsewhere');
    }
  }

  /** Messages have been committed to the outbox. */
  wake(): void {
    this.dispatcher.wake();
    if (this.hasOtherOwners(OUTBOX_RESOURCE)) this.share.leases.notify('outbox');
  }

  /** Messages are about to be committed to the outbox. */
  joinGroup(): void {
    this.dispatcher.joinGroup?.();
  }

  /** Deliveries of a consumer have been committed. */
  wakeConsumer(name: string): void {
    if (this.stopped) return;
    const known = this.workers.get(name) ?? this.addRemote(name);
    known?.wake();
    if (this.hasOtherOwners(this.share.resource)) this.share.leases.notify('deliveries');
  }

  get isRunning(): boolean {
    return !this.stopped;
  }

  /** Why messages don't leave although the relay runs, if that is so. */
  get suspendedReason(): string | undefined {
    return this.dispatcher.suspendedReason;
  }

  /** Nothing can be done now that isn't done. */
  async idle(deadline: number): Promise<void> {
    const busy = () => this.dispatcher.isBusy || [...this.workers.values()].some((it) => it.busy);
    while (!this.stopped && busy() && performance.now() < deadline) await wait(5);
  }

  /** Delivers what can be delivered until `deadline` (of `performance.now()`), then lets go of the rest. */
  async stop(deadline: number): Promise<void> {
    await this.idle(deadline);
    this.stopped = true;
    clearInterval(this.poll);
    const relays = [...this.workers.values()];
    for (const relay of relays) relay.stop();
    await this.dispatcher.stop(deadline);
    // What has begun is short, or waits in a prepare() that may be cut off.
    while (relays.some((relay) => relay.busy) && performance.now() < deadline) await wait(5);
    await this.share.leases.stop();
  }

  private wakeAll(afresh = false): void {
    for (const consumer of this.workers.values()) consumer.wake(afresh);
  }

  /** Whether some of it is another process's business. */
  private hasOtherOwners(part: string): boolean {
    return (this.share.leases.held(part)?.size ?? SHARDS) < SHARDS;
  }

  private addRemote(name: string): DeliveryWorker | undefined {
    const consumer = this.remoteConsumer?.(name);
    return consumer && this.add(consumer);
  }

  /** Consumers that another process has found, or that it leaves to us. */
  private findRemoteConsumers(): void {
    if (!this.remoteConsumer || this.stopped) return;
    consumersWithDeliveries(this.work.sql).then(
      (names) => {
        for (const name of names) if (!this.workers.has(name) && !this.stopped) this.addRemote(name)?.wake();
      },
      // Next time.
      () => undefined,
    );
  }

  private add(consumer: Consumer): DeliveryWorker {
    const relay = new DeliveryWorker(consumer, this.work, this.share, this.logger);
    this.workers.set(consumer.name, relay);
    return relay;
  }
}
