import { SHARDS, type HeldShards } from '../store/lease-rows.js';

/**
 * Which partition keys this process works on, where several processes share one database: shards of a resource are
 * leased to one process at a time (see store/lease-rows.ts).
 */
export interface Leases {
  /** The shards of a resource that this process holds now; undefined where one process owns the database. */
  held(resource: string): HeldShards;
  /** Whether this process has got no leases for so long that it holds none any more: it handles no messages. */
  readonly areLost: boolean;
  /** Resolves after the first round, which takes the shards that are free. */
  start(listener: LeaseListener): Promise<void>;
  /** Starts a round now: a lease turned out to be lost. */
  refresh(): void;
  /** Wakes the other processes. Calls that come before a notification is sent share it. */
  notify(topic: LeaseTopic): void;
  /** Gives all shards back, so that other processes need not wait for the leases to expire. */
  stop(): Promise<void>;
}

/** What other processes should look at. */
export type LeaseTopic = 'outbox' | 'deliveries';

/** Called with a topic that another process sent, or with `leases` when this process got shards. */
export type LeaseListener = (topic: LeaseTopic | 'leases') => void;

/** For a database with one process, such as SQLite: there is nothing to share. */
export const noLeases: Leases = {
  held: () => undefined,
  areLost: false,
  start: async () => undefined,
  refresh: () => undefined,
  notify: () => undefined,
  stop: async () => undefined,
};

/** Whether other processes hold shards of a resource. */
export function othersHoldShards(leases: Leases, resource: string): boolean {
  return (leases.held(resource)?.size ?? SHARDS) < SHARDS;
}

/** The deliveries that a process works on: those of one resource, in the shards that it holds. */
export interface LeaseScope {
  readonly leases: Leases;
  readonly resource: string;
}

export const SINGLE_PROCESS: LeaseScope = { leases: noLeases, resource: 'deliveries' };
