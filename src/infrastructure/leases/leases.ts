/**
 * Which partition keys are the business of this process, where several processes work on one database. Keys fall into
 * shards, and a shard of a part of the work is leased to one process at a time. A lease carries a fencing token, which
 * grows whenever the shard changes hands: whoever was paused for longer than its lease lasts, and doesn't know it yet,
 * finds another token in the database and changes nothing (Kleppmann, "How to do distributed locking", 2016).
 */
export interface Leases {
  /** The tokens of the shards that are ours now, by shard; undefined where there is nobody to share with. */
  held(part: string): ReadonlyMap<number, number> | undefined;
  /** Resolves after the first round, with whatever was free. */
  start(listener: LeaseListener): Promise<void>;
  /** Something has shown that what we hold may have changed hands. */
  refresh(): void;
  /** Other processes have something to look at. At most one notification is sent for all that is told meanwhile. */
  notify(what: LeaseTopic): void;
  /** Gives everything back, so that nobody has to wait for it to run out. */
  stop(): Promise<void>;
}

/** Something to look at: in the outbox, or among the deliveries. */
export type LeaseTopic = 'outbox' | 'deliveries';

/** Hears that shards have come, or that another process tells of something. */
export type LeaseListener = (what: LeaseTopic | 'leases') => void;

/** Where there is one process to a database, as on SQLite, everything is its business. */
export const noLeases: Leases = {
  held: () => undefined,
  start: async () => undefined,
  refresh: () => undefined,
  notify: () => undefined,
  stop: async () => undefined,
};

/** The deliveries of a process: those of one part, as far as its leases go. */
export interface LeaseScope {
  readonly leases: Leases;
  readonly resource: string;
}

export const SINGLE_PROCESS: LeaseScope = { leases: noLeases, resource: 'deliveries' };

/** The part of the work that is taking messages out of the outbox, whichever way they go. */
export const OUTBOX_RESOURCE = 'outbox';

/** More than any number of replicas that share the work of one database. */
export const SHARDS = 32;

/** The shard of a row, in the words of PostgreSQL. */
export const SHARD = `(hashtext(partition_key) & ${SHARDS - 1})`;

/**
 * The fence of a statement: the shards of `tokens` that are still ours. It holds off whoever wants to take one of them
 * over until our transaction has ended, and it sees a takeover that came first.
 * @param part the number of the parameter that holds the part's name
 * @param tokens the number of the parameter that holds `tokensOf(…)`
 */
export function leaseFence(part: number, tokens: number): string {
  return `(SELECT shard FROM mesh_lease JOIN json_to_recordset($${tokens}::json) AS known(s integer, t bigint)
           ON shard = s AND token = t WHERE part = $${part} FOR SHARE OF mesh_lease)`;
}

/** Shards with their tokens, as a parameter for `fence()`. */
export function tokenParameter(held: Iterable<readonly [number, number]>): string {
  return JSON.stringify([...held].map(([s, t]) => ({ s, t })));
}
