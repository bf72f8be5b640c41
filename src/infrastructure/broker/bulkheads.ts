import type { BrokerState } from '../outbox/outbox-dispatcher.js';

/** Requests that may be open at a time: each holds a socket under HTTP/1.1. */
export const MAX_OPEN = 1024;
/** Open requests for one group of consumers. */
const MAX_OPEN_PER_GROUP = 256;
/** Open requests that are younger than `SLOW_MS`: enough to keep a broker busy. */
const MAX_FRESH = 64;
/** Of these, the requests that only groups without a slow request may have. */
const RESERVED = 16;
/** The age, in ms, from which a request counts as slow: it waits for a consumer, not for the broker. */
export const SLOW_MS = 250;

/** A request without an answer. */
export interface OpenRequest {
  /** The consumers of the message, as a name. */
  readonly group: string;
  readonly type: string;
  /** Start, on the clock of `performance.now()`. */
  readonly startedAt: number;
}

/**
 * Decides how many requests to a broker may be open. A synchronous broker answers when all consumers have handled the
 * message, or after the last of their retries, minutes later. The requests for one failing consumer therefore get a
 * share of the sockets, and requests for other consumers go on beside them.
 */
export class Bulkheads {
  /** The open requests below `SLOW_MS`, and the others. Both in the order of their start. */
  private readonly fresh = new Set<OpenRequest>();
  private readonly slow = new Set<OpenRequest>();
  private readonly groups = new Map<string, { open: number; slow: number }>();

  /** Requests that were started lately. */
  get freshCount(): number {
    return this.fresh.size;
  }

  get openCount(): number {
    return this.fresh.size + this.slow.size;
  }

  /** The slow requests: they wait for consumers behind the broker. */
  get waiting(): BrokerState['waiting'] {
    this.ageAt(performance.now());
    const types = new Map<string, number>();
    for (const { type } of this.slow) types.set(type, (types.get(type) ?? 0) + 1);
    const [oldest] = this.slow;
    const since = oldest && new Date(Date.now() - (performance.now() - oldest.startedAt)).toISOString();
    return { requests: this.slow.size, ...(since && { since }), types: Object.fromEntries(types) };
  }

  /** When a fresh request turns slow and so makes room for another one, on the clock of `performance.now()`. */
  get nextSlowAt(): number {
    const [oldest] = this.fresh;
    return oldest ? oldest.startedAt + SLOW_MS : Infinity;
  }

  /** Whether no request of any group may start now. */
  get isFull(): boolean {
    return this.fresh.size >= MAX_FRESH || this.openCount >= MAX_OPEN;
  }

  /** Whether a request for this group may start now. */
  hasRoom(group: string): boolean {
    const { open, slow } = this.groups.get(group) ?? { open: 0, slow: 0 };
    const freshLimit = slow > 0 ? MAX_FRESH - RESERVED : MAX_FRESH;
    return this.openCount < MAX_OPEN && open < MAX_OPEN_PER_GROUP && this.fresh.size < freshLimit;
  }

  start(group: string, type: string): OpenRequest {
    const request = { group, type, startedAt: performance.now() };
    this.fresh.add(request);
    this.count(group, 1, 0);
    return request;
  }

  /** The request has its answer, or has failed. */
  end(request: OpenRequest): void {
    const wasFresh = this.fresh.delete(request);
    this.slow.delete(request);
    this.count(request.group, -1, wasFresh ? 0 : -1);
  }

  /** Turns the requests slow that are old enough. */
  ageAt(now: number): void {
    for (const request of this.fresh) {
      if (request.startedAt + SLOW_MS > now) return;
      this.fresh.delete(request);
      this.slow.add(request);
      this.count(request.group, 0, 1);
    }
  }

  private count(group: string, open: number, slow: number): void {
    const counts = this.groups.get(group) ?? { open: 0, slow: 0 };
    counts.open += open;
    counts.slow += slow;
    if (counts.open > 0) this.groups.set(group, counts);
    else this.groups.delete(group);
  }
}
