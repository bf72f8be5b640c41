import { AsyncLocalStorage } from 'node:async_hooks';
import { setTimeout as wait } from 'node:timers/promises';
import { DATABASE_PAUSE_MS, MESSAGE_UNIT } from '../delivery/consumer.js';
import type { DeliveryWorkers } from '../delivery/delivery-workers.js';
import { noLeases, type Leases } from '../leases/leases.js';
import type { UnitOfWork } from '../persistence/unit-of-work.js';
import { UNPUBLISHED } from '../store/dead-letter-rows.js';
import { insertDeliveries } from '../store/delivery-rows.js';
import { OUTBOX_RESOURCE } from '../store/lease-rows.js';
import { hasOutboxRows, moveToDeliveries, type ConsumerLookup } from '../store/outbox-rows.js';
import { SequenceFloor } from '../store/sequence-floor.js';
import type { OutboxDispatcher } from './outbox-dispatcher.js';
import type { MeshLogger } from '../observability/mesh-logger.js';

/** Messages that one unit of work moves, at most; halved while a batch takes longer than a unit may. */
const MAX_MOVED = 500;
/** Longest pause for consumers that are saturated, in ms. */
const MAX_PAUSE_MS = 300;
/** Unknown types that one log line names, at most. */
const MAX_LOGGED_TYPES = 5;

/** Dispatches the outbox to the consumers of this process: one delivery for each, in the database. */
export class InProcessDispatcher implements OutboxDispatcher {
  private readonly outside = AsyncLocalStorage.snapshot();
  private readonly floor = new SequenceFloor('mesh_outbox');
  private workers?: DeliveryWorkers;
  private running?: Promise<void>;
  private isDispatchQueued = false;
  private isWoken = false;
  private isStopped = true;
  private limit = MAX_MOVED;
  /** When the oldest message of the last batch was written, in ms since 1970, if the outbox may hold more. */
  private backlogSince?: number;

  constructor(
    private readonly work: UnitOfWork,
    readonly consumersOf: ConsumerLookup,
    private readonly logger: MeshLogger,
    private readonly leases: Leases = noLeases,
    private readonly unknownTypeGraceMs = 0,
  ) {}

  get isBusy(): boolean {
    return this.running !== undefined || this.isWoken;
  }

  get outboxFloor(): number {
    return this.floor.known;
  }

  get backlogAgeMs(): number {
    return this.backlogSince === undefined ? 0 : Date.now() - this.backlogSince;
  }

  start(workers: DeliveryWorkers): void {
    this.workers = workers;
    this.isStopped = false;
    this.wake();
  }

  async stop(): Promise<void> {
    this.isStopped = true;
    await this.running;
  }

  wake(): void {
    this.isWoken = true;
    if (this.isStopped || this.running) return;
    // Outside of any request context, although the commit of a request woke this loop.
    this.running = this.outside(() => this.dispatchAll()).finally(() => {
      this.running = undefined;
      if (this.isWoken) this.wake();
    });
  }

  /** On SQLite the messages of a group of units are dispatched with the COMMIT of that group, which saves one COMMIT. */
  aboutToCommit(): void {
    if (this.isDispatchQueued || this.isStopped || !this.work.commitsGroups) return;
    this.isDispatchQueued = true;
    const dispatched = this.outside(() => this.work.run(() => this.dispatchBatch(0), { closesGroup: true }));
    dispatched.then(
      ({ consumers }) => this.workers?.wake(consumers),
      // Nothing was moved. The commit that left the messages wakes this dispatcher.
      () => (this.isDispatchQueued = false),
    );
  }

  private async dispatchAll(): Promise<void> {
    while (this.isWoken && !this.isStopped) {
      this.isWoken = false;
      try {
        const after = await this.floor.current(this.work.sql);
        if (!(await hasOutboxRows(this.work.sql, this.leases.held(OUTBOX_RESOURCE), after))) {
          this.backlogSince = undefined;
          continue;
        }
        const { consumers, more, last, oldest } = await this.work.run(() => this.dispatchBatch(after), MESSAGE_UNIT);
        if (last !== undefined) this.floor.read(last);
        this.backlogSince = more ? oldest : undefined;
        this.workers?.wake(consumers);
        this.limit = Math.min(MAX_MOVED, this.limit * 2);
        if (!more) continue;
        this.isWoken = true;
        await this.waitForConsumers(consumers);
      } catch (error) {
        this.logger.warn({ err: error }, 'The outbox could not be read: trying again');
        this.limit = Math.ceil(this.limit / 2);
        this.backlogSince = undefined;
        await wait(DATABASE_PAUSE_MS);
        this.isWoken = true;
      }
    }
  }

  private async dispatchBatch(after: number) {
    this.isDispatchQueued = false;
    const { sql } = this.work;
    const held = this.leases.held(OUTBOX_RESOURCE);
    const { unknown, ...moved } = await moveToDeliveries(sql, this.consumersOf, this.limit, held, after);
    if (unknown.length === 0) return moved;
    // Types without a consumer here: from another release, or for a module that this process doesn't host.
    const deliveries = unknown.map((event) => ({ consumer: UNPUBLISHED, event }));
    await insertDeliveries(sql, deliveries, this.unknownTypeGraceMs);
    const types = [...new Set(unknown.map(({ type }) => type))].slice(0, MAX_LOGGED_TYPES);
    this.logger.warn({ messages: unknown.length, types }, 'Unknown types: the messages wait for another release');
    return moved;
  }

  /** Deliveries cost more to keep than outbox rows: with a long outbox, move them only as fast as consumers handle them. */
  private async waitForConsumers(consumers: Iterable<string>): Promise<void> {
    const until = performance.now() + MAX_PAUSE_MS;
    while (!this.isStopped && this.workers?.areSaturated(consumers) && performance.now() < until) await wait(2);
  }
}
