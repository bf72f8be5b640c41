import { AsyncLocalStorage } from 'node:async_hooks';
import type { Logger } from '@nestjs/common';
import { runInContext } from '../observability/request-context.js';
import { DatabaseUnavailable, type Sql, type SqlValue } from '../persistence/sql.js';
import type { UnitOfWork } from '../persistence/unit-of-work.js';
import { requestContextOf, type CloudEvent } from '../cloudevents/cloud-event.js';
import { insertDeadLetter } from '../store/dead-letter-rows.js';
import { claimDelivery, dueDeliveries, nextRetryAt, postponeDelivery, type Delivery } from '../store/delivery-rows.js';
import { formatError } from '../observability/format-error.js';
import type { LeaseScope } from '../leases/leases.js';
import { Reject } from '../contracts/message.js';
import { longestWaitMs, waitAfter, type DeliveryPolicy } from './retry-policy.js';

/** Deliveries of one consumer that may be under way at the same time; one consumer can't take the places of another. */
const MAX_IN_FLIGHT = 128;
/** No consumer sleeps longer than this, in ms, whatever the clock says of its next retry. */
const MAX_SLEEP_MS = 5000;
/** The pause after the database failed us, in ms. */
export const DATABASE_PAUSE_MS = 250;
/** For units that handle messages, or move them. */
export const MESSAGE_UNIT = { isMessage: true };

/** Somebody who gets messages, each in its own time. */
export interface Consumer {
  /** As its deliveries name it. */
  readonly name: string;
  readonly policy: DeliveryPolicy;
  /**
   * One try. It claims the delivery first thing in the unit of work that keeps its outcome.
   * @returns a word on what became of it, for the log; `taken` when it is another process's business
   * @throws Reject when no retry can help; any other error is worth one, `retryAfterMs` of it being a wish to wait
   */
  deliver(delivery: Delivery): Promise<string>;
  /** Keeps what is given up, in the unit of work that has claimed it. Among the dead letters unless told. */
  deadLetter?(sql: Sql, letter: FailedMessage): Promise<void>;
}

/** A message that no further try can help. */
export interface FailedMessage {
  readonly event: CloudEvent;
  readonly attempts: number;
  readonly error: unknown;
}

/** The deliveries of one consumer. */
export class DeliveryWorker {
  private readonly inFlight = new Map<SqlValue, Promise<boolean>>();
  /** The last first attempt of each partition key: the next one of the key starts when that has been decided. */
  private readonly lastOfKey = new Map<string, Promise<boolean>>();
  private readonly outside = AsyncLocalStorage.snapshot();
  /** More first attempts are there than it has places for. */
  isSaturated = false;
  /** Tries that came to nothing: those deliveries are where they were. */
  private undecidedCount = 0;
  private isQuerying = false;
  private isWoken = false;
  private stopped = false;
  /** This and all that a process waits for by itself is on the clock of `performance.now()`, which no one sets back. */
  private pausedUntil = 0;
  private timer?: NodeJS.Timeout;
  private timerAt = 0;
  /** When to look for retries next. */
  private nextRetry = 0;

  constructor(
    private readonly consumer: Consumer,
    private readonly work: UnitOfWork,
    private readonly share: LeaseScope,
    private readonly logger: Logger,
  ) {}

  get busy(): boolean {
    return this.isQuerying || this.inFlight.size > 0;
  }

  stop(): void {
    this.stopped = true;
    clearTimeout(this.timer);
  }

  /** @param afresh also for retries that we didn't know to be ours */
  wake(afresh = false): void {
    this.isWoken = true;
    if (afresh) this.nextRetry = 0;
    if (this.isQuerying || this.stopped) return;
    this.isQuerying = true;
    void this.outside(() => this.startDue());
  }

  /** Starts what is due, until nothing is or all places are taken. */
  private async startDue(): Promise<void> {
    try {
      while (this.isWoken && !this.stopped && this.inFlight.size < MAX_IN_FLIGHT) {
        this.isWoken = false;
        if (this.pausedUntil > performance.now()) {
          this.wakeAt(this.pausedUntil);
          break;
        }
        await this.startRetries();
        const places = MAX_IN_FLIGHT - this.inFlight.size;
        const { undecidedCount } = this;
        const deliveries = await this.due('first attempts', places);
        // What was under way when this look began comes before some of what it has found, and isn't under way any more.
        if (undecidedCount !== this.undecidedCount) {
          this.isWoken = true;
          continue;
        }
        for (const delivery of deliveries) this.start(delivery);
        this.isSaturated = deliveries.length === places;
        if (this.isSaturated) this.isWoken = true;
      }
    } catch (error) {
      this.pause(error);
    } finally {
      this.isQuerying = false;
    }
  }

  /** Retries have a part of the places, so that they and first attempts don't keep each other waiting. */
  private async startRetries(): Promise<void> {
    const [now, began] = [Date.now(), performance.now()];
    if (this.nextRetry > began) return this.wakeAt(this.nextRetry);
    // Other processes and other clocks may put something off: no consumer sleeps for long. What fails while we look
    // brings this forward.
    this.nextRetry = began + MAX_SLEEP_MS;
    const places = Math.ceil((MAX_IN_FLIGHT - this.inFlight.size) / 4);
    const deliveries = await this.due('retries', places, now);
    for (const delivery of deliveries) this.start(delivery);
    if (deliveries.length === places) {
      this.nextRetry = 0;
      this.isWoken = true;
    } else {
      const next = await nextRetryAt(this.work.sql, this.consumer.name, now);
      if (next !== undefined) this.nextRetry = Math.min(this.nextRetry, began + next - now);
      this.wakeAt(this.nextRetry);
    }
  }

  private due(which: 'first attempts' | 'retries', places: number, now = Date.now()): Promise<Delivery[]> {
    const { name, policy } = this.consumer;
    const at = { now, unbelievable: now + longestWaitMs(policy) };
    return dueDeliveries(this.work.sql, which, name, places, [...this.inFlight.keys()], at, this.share);
  }

  private start(delivery: Delivery): void {
    const before = delivery.attempts === 0 ? this.lastOfKey.get(delivery.key) : undefined;
    // What is still as it was is found again, and then before those behind it.
    const attempt = before ? before.then((isDecided) => isDecided && this.attempt(delivery)) : this.attempt(delivery);
    const over = attempt.then((isDecided) => {
      this.inFlight.delete(delivery.seq);
      if (this.lastOfKey.get(delivery.key) === over) this.lastOfKey.delete(delivery.key);
      if (!isDecided) {
        this.undecidedCount++;
        this.queryAgainSoon(delivery);
      }
      if (this.isWoken && this.inFlight.size < MAX_IN_FLIGHT / 2) this.wake();
      return isDecided;
    });
    this.inFlight.set(delivery.seq, over);
    if (delivery.attempts === 0) this.lastOfKey.set(delivery.key, over);
  }

  /** Looks for a delivery that is as it was, soon. */
  private queryAgainSoon({ attempts }: Delivery): void {
    if (this.stopped) return;
    const at = performance.now() + DATABASE_PAUSE_MS;
    if (attempts > 0) this.nextRetry = Math.min(this.nextRetry, at);
    this.wakeAt(at);
  }

  /** One try; it never throws. @returns false when the delivery is as it was */
  private async attempt(delivery: Delivery): Promise<boolean> {
    if (this.stopped || this.pausedUntil > performance.now()) return false;
    const began = Date.now();
    try {
      const outcome = await this.consumer.deliver(delivery);
      this.logOutcome(delivery, outcome, began);
      return outcome === 'lease-lost' ? this.leaseLost() : true;
    } catch (error) {
      return await runInContext(requestContextOf(delivery.event), () => this.failed(delivery, error));
    }
  }

  private logOutcome(delivery: Delivery, outcome: string, began: number): void {
    const lagMs = began - Date.parse(delivery.event.time ?? '');
    const facts = { ...this.factsOf(delivery), lagMs, ms: Date.now() - began };
    runInContext(requestContextOf(delivery.event), () => this.logger.log(facts, outcome));
  }

  private factsOf({ event }: Delivery) {
    return { consumer: this.consumer.name, type: event.type, subject: event.subject, event: event.id };
  }

  /** @returns whether that was written down */
  private async failed(delivery: Delivery, error: unknown): Promise<boolean> {
    // Not the message's fault, and nothing could be written down anyway.
    if (error instanceof DatabaseUnavailable) return this.pause(error);
    const facts = this.factsOf(delivery);
    const tries = delivery.attempts + 1;
    const isDead = error instanceof Reject || tries > this.consumer.policy.retry;
    try {
      if (isDead) {
        const letter = { event: delivery.event, attempts: tries, error };
        if (!(await this.work.run(() => this.deadLetter(delivery, letter), MESSAGE_UNIT))) return this.leaseLost();
        this.logger.error({ ...facts, tries, err: error }, 'Given up: now among the dead letters');
      } else {
        const waitMs = waitAfter(error, this.consumer.policy, delivery.attempts);
        const put = () => postponeDelivery(this.work.sql, delivery, waitMs, formatError(error));
        if (!(await this.work.run(put, MESSAGE_UNIT))) return this.leaseLost();
        this.nextRetry = Math.min(this.nextRetry, performance.now() + waitMs);
        this.wakeAt(this.nextRetry);
        this.logger.warn({ ...facts, tries, nextInMs: waitMs, err: error }, 'Failed; will be tried again');
      }
      return true;
    } catch (unrecorded) {
      return this.pause(unrecorded);
    }
  }

  /** @returns whether it was ours to give up */
  private async deadLetter(delivery: Delivery, letter: FailedMessage): Promise<boolean> {
    const { sql } = this.work;
    if (!(await claimDelivery(sql, delivery))) return false;
    if (this.consumer.deadLetter) await this.consumer.deadLetter(sql, letter);
    else await insertDeadLetter(sql, { ...letter, consumer: this.consumer.name });
    return true;
  }

  /** It is another process's business by now. */
  private leaseLost(): false {
    this.share.leases.refresh();
    return false;
  }

  /** The earliest wish counts; the others are found again when that one has been granted. */
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
      this.logger.warn({ consumer: this.consumer.name, err: error }, 'The database failed; pausing');
    this.pausedUntil = performance.now() + DATABASE_PAUSE_MS;
    this.wakeAt(this.pausedUntil + 1);
    return false;
  }
}
