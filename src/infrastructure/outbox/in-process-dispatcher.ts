import { AsyncLocalStorage } from 'node:async_hooks';
import { setTimeout as wait } from 'node:timers/promises';
import type { Logger } from '@nestjs/common';
import type { UnitOfWork } from '../persistence/unit-of-work.js';
import { MESSAGE_UNIT, DATABASE_PAUSE_MS } from '../delivery/delivery-worker.js';
import { insertDeadLetter, UNPUBLISHED } from '../store/dead-letter-rows.js';
import { moveToDeliveries, hasOutboxRows, type Route } from '../store/delivery-rows.js';
import { noLeases, type Leases } from '../leases/leases.js';
import type { OutboxDispatcher } from './relay.js';

/** Messages that one unit of work fans out: so many at most, and fewer while they are too large for the time of a unit. */
const MAX_BATCH = 500;
/** With more to come it waits for consumers that are behind, and no longer than this when all of them are slow; in ms. */
const MAX_WAIT_MS = 300;

/** The way out of the outbox to the consumers of this process: one delivery for each, in the database. */
export class InProcessDispatcher implements OutboxDispatcher {
  private readonly outside = AsyncLocalStorage.snapshot();
  private running?: Promise<void>;
  private joining = false;
  private wanted = false;
  private stopped = true;
  private limit = MAX_BATCH;
  private wakeConsumers: (names: Iterable<string>) => void = () => undefined;
  private areSaturated: (names: Iterable<string>) => boolean = () => false;

  constructor(
    private readonly work: UnitOfWork,
    private readonly route: Route,
    private readonly logger: Logger,
    private readonly leases: Leases = noLeases,
  ) {}

  get isBusy(): boolean {
    return this.running !== undefined || this.wanted;
  }

  start(wakeConsumers: (names: Iterable<string>) => void, areBehind: (names: Iterable<string>) => boolean): void {
    this.wakeConsumers = wakeConsumers;
    this.areSaturated = areBehind;
    this.stopped = false;
    this.wake();
  }

  async stop(): Promise<void> {
    this.stopped = true;
    await this.running;
  }

  wake(): void {
    this.wanted = true;
    if (this.stopped || this.running) return;
    // Outside: the loop belongs to nobody's request, though somebody's commit has woken it.
    this.running = this.outside(() => this.dispatchAll()).finally(() => {
      this.running = undefined;
      if (this.wanted) this.wake();
    });
  }

  /** Fans messages out with the very commit that leaves them, instead of with one of its own behind it. */
  joinGroup(): void {
    if (this.joining || this.stopped || !this.work.commitsGroups) return;
    this.joining = true;
    const fannedOut = this.outside(() => this.work.run(() => this.dispatchBatch(), { closesGroup: true }));
    fannedOut.then(
      ({ consumers }) => this.wakeConsumers(consumers),
      // Then the messages are where they were, and the commit that left them wakes us.
      () => (this.joining = false),
    );
  }

  private async dispatchBatch() {
    this.joining = false;
    const { sql } = this.work;
    const { unknown, ...done } = await moveToDeliveries(sql, this.route, this.limit, this.leases);
    // Left by another version of this application, or another selection of its modules: theirs when it is replayed there.
    for (const event of unknown) {
      const error = new Error(`No module of this process knows what to do with ${event.type}`);
      await insertDeadLetter(sql, { event, attempts: 1, error, consumer: UNPUBLISHED });
      this.logger.error({ type: event.type, subject: event.subject, event: event.id }, error.message);
    }
    return done;
  }

  /**
   * A long outbox is fanned out no faster than it is handled: what it is turned into grows, and costs as much to keep.
   * But nobody is to be idle for the sake of somebody slow.
   */
  private async waitForConsumers(consumers: Iterable<string>): Promise<void> {
    const until = performance.now() + MAX_WAIT_MS;
    while (!this.stopped && this.areSaturated(consumers) && performance.now() < until) await wait(2);
  }

  private async dispatchAll(): Promise<void> {
    while (this.wanted && !this.stopped) {
      this.wanted = false;
      try {
        if (!(await hasOutboxRows(this.work.sql, this.leases))) continue;
        const { consumers, more } = await this.work.run(() => this.dispatchBatch(), MESSAGE_UNIT);
        this.wakeConsumers(consumers);
        this.limit = Math.min(MAX_BATCH, this.limit * 2);
        if (!more) continue;
        this.wanted = true;
        await this.waitForConsumers(consumers);
      } catch (error) {
        this.logger.warn({ err: error }, 'The outbox could not be read; trying again');
        this.limit = Math.ceil(this.limit / 2);
        await wait(DATABASE_PAUSE_MS);
        this.wanted = true;
      }
    }
  }
}
