import { AsyncResource } from 'node:async_hooks';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { Inject, Injectable } from '@nestjs/common';
import { Refusals } from './refusals.js';
import { withSlot } from './request-slot.js';

/** The injection token of a function: how long the messages that this process could handle now have waited, in ms. */
export const BACKLOG_AGE = Symbol('BACKLOG_AGE');
/** The injection token of the number of requests that may wait for an outcome (`Prefer: wait`) at a time. */
export const MAX_WAITERS = Symbol('MAX_WAITERS');

/** Requests that are worked on at a time: enough to fill the groups of units that share a COMMIT. */
const SLOTS = 32;
/**
 * Requests begin for so long in one turn of the event loop, in ms: SQLite reads without a pause, and accepting connections,
 * health and the answers of others have their turn in between.
 */
const TURN_MS = 10;
/** Longest wait for a slot, in ms. */
const MAX_WAIT_MS = 1000;
/** Requests that wait for a slot, at most: they are in memory with their bodies. */
const MAX_QUEUED = 1000;
/** Messages that have waited for longer than this, in ms, … */
const MAX_BACKLOG_AGE_MS = 1000;
/** … throughout this time, in ms, are more than can be handled: no more work is accepted. */
const BACKLOG_PATIENCE_MS = 1000;
/** The share of the last request in the average time between two answers. */
const NEWEST_SHARE = 0.05;
const SAFE_METHODS: readonly (string | undefined)[] = ['GET', 'HEAD', 'OPTIONS'];
/** Requests that wait for another process without a slot, at most; more keep theirs. */
const MAX_OUTSIDE = 256;

/** A request that waits for a slot. */
interface Queued {
  readonly response: ServerResponse;
  readonly since: number;
  readonly next: () => void;
}

/**
 * Decides which requests of users this process takes on. So many are worked on at a time, others wait in a queue. When the
 * expected wait passes a second, requests are refused with 503 and `Retry-After` before anything is done for them. So are
 * requests that cause messages, while messages that this process could handle pile up. Health, the mesh's deliveries and
 * administration are outside of it.
 */
@Injectable()
export class Admission {
  private readonly refusals = new Refusals();
  private working = 0;
  private waiters = 0;
  private readonly queue: Queued[] = [];
  private readonly releases = new WeakMap<ServerResponse, () => void>();
  private timer?: NodeJS.Timeout;
  /** Average time between two answers while all slots are taken, in ms. */
  private paceMs = 0;
  /** Since when all slots have been taken, or the last answer since then. */
  private fullSince = 0;
  private isBeginning = false;
  /** When requests began in this turn of the event loop. */
  private turnBeganAt?: number;
  /** Requests that gave their slot back to wait for another process. */
  private outside = 0;
  /** The time since which messages pile up, and that of the last look. */
  private backlog?: { readonly since: number; seenAt: number };

  constructor(
    @Inject(BACKLOG_AGE) private readonly backlogAgeMs: () => number,
    @Inject(MAX_WAITERS) private readonly maxWaiters: number,
  ) {}

  /** Comes before all middleware: refuses what can't be done in time, before its body is read. */
  refuseExcess(request: IncomingMessage, response: ServerResponse, next: () => void): void {
    const waitMs = this.expectedWaitMs(request.method);
    if (waitMs <= MAX_WAIT_MS) return next();
    // Without 100 Continue the body may come or not.
    if (request.headers.expect) response.shouldKeepAlive = false;
    this.refuse(response, waitMs);
  }

  /** Middleware that comes after the body was read, so that a slow sender holds no slot: waits for a slot. */
  enter(response: ServerResponse, next: () => void): void {
    const work = withSlot(response, () => this.leave(response), next);
    if (this.hasRoom() && this.queue.length === 0) return this.begin(response, work);
    if (this.queue.length >= MAX_QUEUED) return this.refuse(response, this.queue.length * this.paceMs);
    if (this.queue.length === 0 && this.working < SLOTS) this.fullSince = performance.now();
    // It goes on in its own context, not in that of the request that makes room.
    this.queue.push({ response, since: performance.now(), next: AsyncResource.bind(work) });
    this.timer ??= setTimeout(() => this.refuseLate(), MAX_WAIT_MS);
  }

  /**
   * Runs `wait` for a request that waits for an outcome: it needs no slot meanwhile. Few may wait, since each may hold a slot
   * of a proxy by which deliveries come in, too.
   * @returns undefined without running it when too many requests wait
   */
  async whileWaiting<T>(response: ServerResponse, wait: () => Promise<T>): Promise<T | undefined> {
    if (this.waiters >= this.maxWaiters) return undefined;
    this.waiters++;
    this.releases.get(response)?.();
    try {
      return await wait();
    } finally {
      this.waiters--;
    }
  }

  private expectedWaitMs(method: string | undefined): number {
    const queuedMs = this.isFull ? (this.queue.length + this.working) * this.paceMs : 0;
    return SAFE_METHODS.includes(method) ? queuedMs : Math.max(queuedMs, this.backlogMs());
  }

  /** The age of the backlog, or 0 while it may still pass. */
  private backlogMs(): number {
    const ageMs = this.backlogAgeMs();
    const now = performance.now();
    if (ageMs <= MAX_BACKLOG_AGE_MS) {
      this.backlog = undefined;
      return 0;
    }
    const isNew = !this.backlog || now - this.backlog.seenAt > BACKLOG_PATIENCE_MS;
    this.backlog = { since: isNew ? now : this.backlog!.since, seenAt: now };
    return now - this.backlog.since >= BACKLOG_PATIENCE_MS ? ageMs : 0;
  }

  private begin(response: ServerResponse, next: () => void): void {
    if (++this.working === SLOTS) this.fullSince = performance.now();
    const release = () => {
      if (!this.releases.delete(response)) return;
      if (this.isFull) this.measure();
      this.working--;
      this.beginQueued();
    };
    this.releases.set(response, release);
    // A client that doesn't read its answer holds no slot.
    response.once('prefinish', release).once('close', release);
    next();
  }

  private get isFull(): boolean {
    return this.working === SLOTS || this.queue.length > 0;
  }

  /** Whether a request may begin in this turn of the event loop; if not, those that wait go on in the next one. */
  private hasRoom(): boolean {
    if (this.working >= SLOTS) return false;
    const now = performance.now();
    if (this.turnBeganAt === undefined) {
      this.turnBeganAt = now;
      setImmediate(() => {
        this.turnBeganAt = undefined;
        this.beginQueued();
      });
    }
    return now - this.turnBeganAt < TURN_MS;
  }

  private measure(): void {
    const now = performance.now();
    this.paceMs += NEWEST_SHARE * (now - this.fullSince - this.paceMs);
    this.fullSince = now;
  }

  /** Begins one after the other: what a request does at once, also in promises, is done before the next one begins. */
  private beginQueued(): void {
    if (this.isBeginning || this.queue.length === 0 || !this.hasRoom()) return;
    this.isBeginning = true;
    const { response, next } = this.queue.shift()!;
    if (!response.destroyed && !response.closed) this.begin(response, next); // or the client has gone
    const goOn = () => {
      this.isBeginning = false;
      this.beginQueued();
    };
    // What a microtask leaves for the next tick comes after all microtasks.
    queueMicrotask(() => process.nextTick(goOn));
  }

  private leave(response: ServerResponse): void {
    const release = this.releases.get(response);
    if (!release || this.outside >= MAX_OUTSIDE) return;
    this.outside++;
    response.once('close', () => this.outside--);
    release();
  }

  /** Refuses the requests that have waited too long, although the expected wait was shorter. */
  private refuseLate(): void {
    this.timer = undefined;
    const oldest = performance.now() - MAX_WAIT_MS;
    while (this.queue[0] && this.queue[0].since <= oldest) this.refuse(this.queue.shift()!.response, MAX_WAIT_MS);
    if (!this.queue[0]) return;
    this.timer = setTimeout(() => this.refuseLate(), Math.max(1, this.queue[0].since - oldest));
  }

  private refuse(response: ServerResponse, waitMs: number): void {
    this.refusals.refuse(response, waitMs, { working: this.working, queued: this.queue.length });
  }
}
