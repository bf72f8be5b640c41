import { AsyncLocalStorage } from 'node:async_hooks';
import { requestContextOf } from '../cloudevents/cloud-event.js';
import type { LeaseScope } from '../leases/leases.js';
import { runInContext } from '../observability/request-context.js';
import { DELIVERY } from '../observability/telemetry.js';
import { DatabaseUnavailable, isDatabaseUnusable, type SqlValue } from '../persistence/sql.js';
import type { UnitOfWork } from '../persistence/unit-of-work.js';
import { dueDeliveries, nextRetryAt, type Delivery } from '../store/delivery-rows.js';
import { SequenceFloor } from '../store/sequence-floor.js';
import type { EventBudget } from './event-budget.js';
import { Backlog } from './backlog.js';
import { DATABASE_PAUSE_MS, type Consumer } from './consumer.js';
import { deliveryFacts, FailedAttempts } from './failed-attempts.js';
import { maxWaitMs } from '../contracts/retry-policy.js';
import { WaitingMessages } from './waiting-messages.js';
import { MeshLogger } from '../observability/mesh-logger.js';

/** Deliveries of one consumer in flight at a time, by default. Each consumer has its own: a slow one can't block another. */
const MAX_IN_FLIGHT = 256;
/** Longest time without a query for retries, in ms: another process, or a clock that was set, may have moved one. */
const MAX_SLEEP_MS = 5000;
/** Delivers the messages of one consumer: first attempts in order per partition key, retries when they are due. */
export class DeliveryWorker {
  /** Whether there are more first attempts than free slots. */
  isSaturated = false;
  private readonly inFlight = new Map<SqlValue, Promise<boolean>>();
  /** The last first attempt of each partition key; the next one of the key starts when it is decided. */
  private readonly lastOfKey = new Map<string, Promise<boolean>>();
  private readonly outside = AsyncLocalStorage.snapshot();
  private readonly failures: FailedAttempts;
  private readonly waiting: WaitingMessages;
  private readonly backlog = new Backlog();
  private readonly floor: SequenceFloor;
  private readonly maxInFlight: number;
  /** Attempts that ended undecided: their rows are as they were. */
  private undecidedCount = 0;
  private isQuerying = false;
  private isWoken = false;
  private isStopped = false;
  /** This time and the next two are on the clock of `performance.now()`, which is never set back. */
  private pausedUntil = 0;
  private timerAt = 0;
  private nextRetry = 0;
  private timer?: NodeJS.Timeout;

  constructor(
    private readonly consumer: Consumer,
    private readonly work: UnitOfWork,
    private readonly scope: LeaseScope,
    private readonly logger: MeshLogger,
    private readonly budget: EventBudget,
  ) {
    this.failures = new FailedAttempts(consumer, work, logger);
    this.waiting = new WaitingMessages(consumer);
    this.floor = new SequenceFloor('mesh_delivery', consumer.name);
    this.maxInFlight = consumer.maxInFlight ?? MAX_IN_FLIGHT;
  }

  get isBusy(): boolean {
    return this.isQuerying || this.inFlight.size > 0;
  }

  /** How long first attempts that wait for a slot have waited, in ms; 0 when the consumer keeps up, fails, or waits for others. */
  get backlogAgeMs(): number {
    return this.consumer.waitsForOthers ? 0 : this.backlog.ageMs;
  }

  stop(): void {
    this.isStopped = true;
    clearTimeout(this.timer);
  }

  /** @param afresh also for retries that belonged to another process until now */
  wake(afresh = false): void {
    this.isWoken = true;
    if (afresh) {
      this.nextRetry = 0;
      this.waiting.nextAt = 0;
    }
    if (this.isQuerying || this.isStopped) return;
    this.isQuerying = true;
    void this.outside(() => this.startDue());
  }

  /** Starts what is due until nothing is left or all slots are taken. */
  private async startDue(): Promise<void> {
    try {
      while (this.isWoken && !this.isStopped && this.hasRoom) {
        this.isWoken = false;
        if (this.pausedUntil > performance.now()) {
          this.wakeAt(this.pausedUntil);
          break;
        }
        await this.startRetries();
        await this.startWaiting();
        const slots = this.maxInFlight - this.inFlight.size;
        const { undecidedCount } = this;
        const after = await this.floor.current(this.work.sql);
        const { deliveries, more } = await this.due('first', slots, { after });
        // An attempt ended undecided during the query, so its row is missing here. Query again to keep the order.
        if (undecidedCount !== this.undecidedCount) {
          this.isWoken = true;
          continue;
        }
        for (const delivery of deliveries) this.start(delivery);
        if (deliveries.length > 0) this.floor.read(deliveries.at(-1)!.seq);
        this.isSaturated = more;
        this.backlog.found(deliveries, this.isSaturated);
        if (this.isSaturated) this.isWoken = true;
      }
    } catch (error) {
      this.pause(error);
    } finally {
      this.isQuerying = false;
    }
  }

  /** Starts messages that waited for this release. As retries, they get a quarter of the free slots. */
  private async startWaiting(): Promise<void> {
    const { leases, resource } = this.scope;
    // A process without any lease may be cut off from its database. New leases wake this worker.
    if (leases.held(resource)?.size === 0) return;
    if (this.waiting.nextAt <= performance.now()) {
      const slots = Math.ceil((this.maxInFlight - this.inFlight.size) / 4);
      const deliveries = await this.waiting.nextPage(this.work.sql, slots, this.inFlight);
      for (const delivery of deliveries) this.start(delivery);
    }
    if (this.waiting.nextAt <= performance.now()) this.isWoken = true;
    else this.wakeAt(this.waiting.nextAt);
  }

  /** Retries get a quarter of the free slots, so that they and first attempts don't block each other. */
  private async startRetries(): Promise<void> {
    const [now, began] = [Date.now(), performance.now()];
    if (this.nextRetry > began) return this.wakeAt(this.nextRetry);
    // Set before the query, so that an attempt that fails during the query can set an earlier time.
    this.nextRetry = began + MAX_SLEEP_MS;
    const slots = Math.ceil((this.maxInFlight - this.inFlight.size) / 4);
    const { deliveries, more } = await this.due('retry', slots, { now });
    for (const delivery of deliveries) this.start(delivery);
    if (more) {
      this.nextRetry = 0;
      this.isWoken = true;
      return;
    }
    const next = await nextRetryAt(this.work.sql, this.consumer.name, now);
    if (next !== undefined) this.nextRetry = Math.min(this.nextRetry, began + next - now);
    this.wakeAt(this.nextRetry);
  }

  private due(
    attempts: 'first' | 'retry',
    limit: number,
    { now = Date.now(), after = 0 }: { now?: number; after?: number },
  ): Promise<{ deliveries: Delivery[]; more: boolean }> {
    const { name, policy } = this.consumer;
    const { leases, resource } = this.scope;
    return dueDeliveries(this.work.sql, {
      consumer: name,
      attempts,
      after,
      limit,
      maxBytes: this.budget.left,
      inFlight: [...this.inFlight.keys()],
      now,
      maxDueAt: now + maxWaitMs(policy),
      resource,
      held: leases.held(resource),
    });
  }

  /** Whether another attempt may begin. Without one in flight it may always: else large events of others could stop it. */
  private get hasRoom(): boolean {
    const { size } = this.inFlight;
    return size === 0 || (size < this.maxInFlight && this.budget.left > 0);
  }

  private start(delivery: Delivery): void {
    const { size = 0 } = delivery;
    this.budget.take(size);
    const isFirst = delivery.attempts === 0 || delivery.isWaiting;
    const before = isFirst ? this.lastOfKey.get(delivery.key) : undefined;
    // After an undecided attempt the next query finds both rows again, in their order.
    const attempt = before ? before.then((isDecided) => isDecided && this.attempt(delivery)) : this.attempt(delivery);
    const ended = attempt.then((isDecided) => {
      this.inFlight.delete(delivery.seq);
      this.budget.giveBack(size);
      if (this.lastOfKey.get(delivery.key) === ended) this.lastOfKey.delete(delivery.key);
      if (!isDecided) {
        this.undecidedCount++;
        this.queryAgainSoon(delivery);
      }
      if (this.isWoken && this.inFlight.size < this.maxInFlight / 2) this.wake();
      return isDecided;
    });
    this.inFlight.set(delivery.seq, ended);
    if (isFirst) this.lastOfKey.set(delivery.key, ended);
  }

  private queryAgainSoon({ attempts, isWaiting }: Delivery): void {
    if (this.isStopped) return;
    const at = performance.now() + DATABASE_PAUSE_MS;
    if (isWaiting) this.waiting.nextAt = Math.min(this.waiting.nextAt, at);
    else if (attempts > 0) this.nextRetry = Math.min(this.nextRetry, at);
    this.wakeAt(at);
  }

  /** One attempt; never throws. @returns false when the row is as it was */
  private async attempt(delivery: Delivery): Promise<boolean> {
    if (this.isStopped || this.pausedUntil > performance.now()) return false;
    const began = Date.now();
    let current: Delivery | undefined = delivery;
    try {
      if (this.consumer.begin) current = await this.consumer.begin(delivery);
      const outcome = current ? await this.deliver(current) : 'lease-lost';
      this.logOutcome(delivery, outcome, began);
      if (outcome === 'lease-lost') return this.leaseLost();
      this.backlog.ended(true);
      return true;
    } catch (error) {
      return await runInContext(requestContextOf(delivery.event), () => this.failed(current ?? delivery, error));
    }
  }

  private deliver(delivery: Delivery): Promise<string> {
    const { consumer, event } = delivery;
    return DELIVERY.run({ consumer, event }, () => this.consumer.deliver(delivery), String);
  }

  private logOutcome(delivery: Delivery, outcome: string, began: number): void {
    if (!MeshLogger.logsMessages) return;
    const lagMs = began - Date.parse(delivery.event.time ?? '');
    const facts = { ...deliveryFacts(delivery), lagMs, ms: Date.now() - began };
    runInContext(requestContextOf(delivery.event), () => this.logger.message(facts, outcome));
  }

  /** @returns false when the row is as it was */
  private async failed(delivery: Delivery, error: unknown): Promise<boolean> {
    // Not the fault of the message, and an outcome couldn't be written now.
    if (error instanceof DatabaseUnavailable || isDatabaseUnusable(error)) return this.pause(error);
    this.backlog.ended(false);
    try {
      const outcome = await this.failures.record(delivery, error);
      if (outcome === 'lease-lost') return this.leaseLost();
      if (outcome === 'dead') return true;
      const now = performance.now();
      if ('waitInMs' in outcome) this.waiting.nextAt = Math.min(this.waiting.nextAt, now + outcome.waitInMs);
      else this.nextRetry = Math.min(this.nextRetry, now + outcome.retryInMs);
      this.wakeAt(Math.min(this.waiting.nextAt, this.nextRetry));
      return true;
    } catch (unrecorded) {
      return this.pause(unrecorded);
    }
  }

  private leaseLost(): false {
    this.scope.leases.refresh();
    return false;
  }

  /** Keeps only the earliest timer: a wake-up sets the later ones again. */
  private wakeAt(at: number): void {
    if (this.timer && this.timerAt <= at) return;
    clearTimeout(this.timer);
    this.timerAt = at;
    const ring = () => {
      this.timer = undefined;
      this.wake();
    };
    this.timer = setTimeout(ring, Math.max(1, at - performance.now()));
  }

  private pause(error: unknown): false {
    if (this.pausedUntil < performance.now())
      this.logger.warn({ consumer: this.consumer.name, err: error }, 'The database failed: deliveries pause');
    this.pausedUntil = performance.now() + DATABASE_PAUSE_MS;
    this.wakeAt(this.pausedUntil + 1);
    return false;
  }
}
