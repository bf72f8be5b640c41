import { setTimeout as wait } from 'node:timers/promises';
import type { Consumer } from '../delivery/consumer.js';
import type { DeliveryWorkers } from '../delivery/delivery-workers.js';
import { othersHoldShards, SINGLE_PROCESS, type LeaseScope } from '../leases/leases.js';
import type { CloudEvent } from '../cloudevents/cloud-event.js';
import type { Sql } from '../persistence/sql.js';
import { OUTBOX_RESOURCE } from '../store/lease-rows.js';
import { storeMessages } from '../store/new-messages.js';
import type { BrokerState, OutboxDispatcher } from './outbox-dispatcher.js';

/** Polling is a safety net for commits of other processes whose notification was lost; in ms. */
const POLL_MS = 1000;

/**
 * Carries messages on, through the database alone: a message is in the outbox, in the deliveries of its consumers, handled,
 * or accepted by a broker. The commit that leaves a message wakes the relay; timers wake it for retries.
 */
export class Relay {
  private poll?: NodeJS.Timeout;
  private isStopped = true;

  /**
   * @param scope the deliveries that this process works on, where several processes share the database
   * @param unaddressed consumers of messages whose type was unknown
   */
  constructor(
    private readonly dispatcher: OutboxDispatcher,
    private readonly workers: DeliveryWorkers,
    private readonly scope: LeaseScope = SINGLE_PROCESS,
    private readonly unaddressed: readonly Consumer[] = [],
  ) {}

  /** Starts with the messages that an earlier process left. */
  async start(consumers: readonly Consumer[]): Promise<void> {
    this.isStopped = false;
    this.workers.start([...consumers, ...this.unaddressed]);
    await this.scope.leases.start((topic) => {
      if (topic !== 'deliveries') this.dispatcher.wake();
      if (topic === 'outbox') return;
      this.workers.wakeAll(topic === 'leases');
      this.workers.findRemoteConsumers();
    });
    this.workers.wakeAll();
    this.dispatcher.start(this.workers);
    this.poll = setInterval(() => {
      this.dispatcher.wake();
      if (!othersHoldShards(this.scope.leases, this.scope.resource)) return;
      this.workers.wakeAll();
      this.workers.findRemoteConsumers();
    }, POLL_MS);
    await this.workers.resume();
  }

  /**
   * Stores messages in the open transaction, as deliveries where their consumers are in this process.
   * @returns whether some are in the outbox
   */
  async store(sql: Sql, events: readonly CloudEvent[]): Promise<boolean> {
    const { dispatcher } = this;
    const consumersOf = dispatcher.consumersOf ?? (() => undefined);
    const isInOutbox = await storeMessages(sql, events, consumersOf, dispatcher.outboxFloor ?? 0);
    if (isInOutbox) dispatcher.aboutToCommit?.();
    return isInOutbox;
  }

  /** Deliveries of these types have been committed. */
  wakeConsumersOf(types: Iterable<string>): void {
    const consumers = [...types].flatMap((type) => this.dispatcher.consumersOf?.(type) ?? []);
    this.workers.wake(new Set(consumers));
  }

  /** Messages have been committed to the outbox. */
  wake(): void {
    this.dispatcher.wake();
    if (othersHoldShards(this.scope.leases, OUTBOX_RESOURCE)) this.scope.leases.notify('outbox');
  }

  /** Deliveries of a consumer have been committed. */
  wakeConsumer(name: string): void {
    this.workers.wake([name]);
  }

  /** Looks for messages and retries whose rows have changed. */
  lookAgain(): void {
    this.dispatcher.wake();
    this.workers.wakeAll(true);
  }

  get isRunning(): boolean {
    return !this.isStopped;
  }

  /**
   * How long the messages that this process could handle now have waited, in ms; 0 when it keeps up. Retries, failing
   * consumers and a broker that takes nothing don't count.
   */
  get backlogAgeMs(): number {
    return this.isStopped ? 0 : Math.max(this.dispatcher.backlogAgeMs, this.workers.backlogAgeMs);
  }

  /** Whether this process handles no messages because it gets no leases on the database. */
  get hasNoLeases(): boolean {
    return this.scope.leases.areLost;
  }

  /** How many shards this process holds; none where it shares the database with no other process. */
  get heldShards(): Record<'outbox' | 'deliveries', number> | Record<string, never> {
    const { leases, resource } = this.scope;
    const outbox = leases.held(OUTBOX_RESOURCE)?.size;
    const deliveries = leases.held(resource)?.size;
    return outbox === undefined || deliveries === undefined ? {} : { outbox, deliveries };
  }

  /** Why messages don't leave although the relay runs, if that is so. */
  get suspendedReason(): string | undefined {
    return this.dispatcher.suspendedReason;
  }

  /** Absent where messages go to no broker. */
  get brokerState(): BrokerState | undefined {
    return this.dispatcher.brokerState;
  }

  /** Resolves when all that can be done now is done, at the latest at `deadline` (of `performance.now()`). */
  async idle(deadline: number): Promise<void> {
    const isBusy = () => this.dispatcher.isBusy || this.workers.isBusy;
    while (!this.isStopped && isBusy() && performance.now() < deadline) await wait(5);
  }

  /** Delivers what can be delivered until `deadline` (of `performance.now()`), then drops what is in flight. */
  async stop(deadline: number): Promise<void> {
    await this.idle(deadline);
    this.isStopped = true;
    clearInterval(this.poll);
    this.workers.stop();
    await this.dispatcher.stop(deadline);
    // An attempt in flight is short, or it waits in a prepare() that may be dropped.
    while (this.workers.isBusy && performance.now() < deadline) await wait(5);
    await this.scope.leases.stop();
  }
}
