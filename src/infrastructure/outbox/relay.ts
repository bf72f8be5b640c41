import { setTimeout as wait } from 'node:timers/promises';
import type { Logger } from '@nestjs/common';
import type { UnitOfWork } from '../persistence/unit-of-work.js';
import { ConsumerRelay, type Consumer } from '../delivery/delivery-worker.js';
import { consumersWithDeliveries } from '../store/deliveries.js';
import { OUTBOX, SHARDS, WHOLE, type Share } from '../leases/leases.js';

/** The safety net for what no commit of this process announces, in ms. */
const POLL_MS = 1000;

/** Takes messages out of the outbox: to the deliveries of this process, or to a broker. */
export interface WayOut {
  /** Whether it has something to do that it can do now. */
  readonly busy: boolean;
  /** Why it can't go on without somebody's help, if that is so. */
  readonly suspended?: string;
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
  private readonly consumers = new Map<string, ConsumerRelay>();
  private poll?: NodeJS.Timeout;
  private stopped = true;

  /**
   * @param share of the deliveries, where several processes work on this database
   * @param elsewhere consumers that aren't known from the start, by their name
   */
  constructor(
    private readonly work: UnitOfWork,
    private readonly wayOut: WayOut,
    private readonly logger: Logger,
    private readonly share: Share = WHOLE,
    private readonly elsewhere?: (name: string) => Consumer | undefined,
  ) {}

  /** Starts with whatever an earlier process left. */
  async start(consumers: readonly Consumer[]): Promise<void> {
    this.stopped = false;
    for (const consumer of consumers) this.add(consumer);
    await this.share.leases.start((what) => {
      if (what !== 'deliveries') this.wayOut.wake();
      if (what === 'outbox') return;
      this.wakeAll(what === 'leases');
      this.lookForOthers();
    });
    this.wakeAll();
    this.wayOut.start(
      (names) => {
        for (const name of names) this.wakeConsumer(name);
      },
      (names) => [...names].every((name) => this.consumers.get(name)?.isBehind),
    );
    this.poll = setInterval(() => {
      this.wayOut.wake();
      if (!this.isShared(this.share.part)) return;
      this.wakeAll();
      this.lookForOthers();
    }, POLL_MS);
    for (const consumer of await consumersWithDeliveries(this.work.sql)) {
      if (this.consumers.has(consumer)) continue;
      this.wakeConsumer(consumer);
      if (!this.consumers.has(consumer))
        this.logger.warn({ consumer }, 'Messages wait here for a consumer that lives elsewhere');
    }
  }

  /** Messages have been committed to the outbox. */
  wake(): void {
    this.wayOut.wake();
    if (this.isShared(OUTBOX)) this.share.leases.tell('outbox');
  }

  /** Messages are about to be committed to the outbox. */
  joinGroup(): void {
    this.wayOut.joinGroup?.();
  }

  /** Deliveries of a consumer have been committed. */
  wakeConsumer(name: string): void {
    if (this.stopped) return;
    const known = this.consumers.get(name) ?? this.found(name);
    known?.wake();
    if (this.isShared(this.share.part)) this.share.leases.tell('deliveries');
  }

  get running(): boolean {
    return !this.stopped;
  }

  /** Why messages don't leave although the relay runs, if that is so. */
  get suspended(): string | undefined {
    return this.wayOut.suspended;
  }

  /** Nothing can be done now that isn't done. */
  async idle(deadline: number): Promise<void> {
    const busy = () => this.wayOut.busy || [...this.consumers.values()].some((it) => it.busy);
    while (!this.stopped && busy() && performance.now() < deadline) await wait(5);
  }

  /** Delivers what can be delivered until `deadline` (of `performance.now()`), then lets go of the rest. */
  async stop(deadline: number): Promise<void> {
    await this.idle(deadline);
    this.stopped = true;
    clearInterval(this.poll);
    const relays = [...this.consumers.values()];
    for (const relay of relays) relay.stop();
    await this.wayOut.stop(deadline);
    // What has begun is short, or waits in a prepare() that may be cut off.
    while (relays.some((relay) => relay.busy) && performance.now() < deadline) await wait(5);
    await this.share.leases.stop();
  }

  private wakeAll(afresh = false): void {
    for (const consumer of this.consumers.values()) consumer.wake(afresh);
  }

  /** Whether some of it is another process's business. */
  private isShared(part: string): boolean {
    return (this.share.leases.held(part)?.size ?? SHARDS) < SHARDS;
  }

  private found(name: string): ConsumerRelay | undefined {
    const consumer = this.elsewhere?.(name);
    return consumer && this.add(consumer);
  }

  /** Consumers that another process has found, or that it leaves to us. */
  private lookForOthers(): void {
    if (!this.elsewhere || this.stopped) return;
    consumersWithDeliveries(this.work.sql).then(
      (names) => {
        for (const name of names) if (!this.consumers.has(name) && !this.stopped) this.found(name)?.wake();
      },
      // Next time.
      () => undefined,
    );
  }

  private add(consumer: Consumer): ConsumerRelay {
    const relay = new ConsumerRelay(consumer, this.work, this.share, this.logger);
    this.consumers.set(consumer.name, relay);
    return relay;
  }
}
