import { setTimeout as wait } from 'node:timers/promises';
import type { SessionConfig } from '../persistence/postgres/session.js';
import { isStale } from '../persistence/postgres/stale-statements.js';
import { RESPONSE_TIMEOUT_MS, withTimeout } from '../persistence/postgres/timeouts.js';
import {
  createLeases,
  deleteReplicas,
  listLeases,
  listReplicas,
  releaseLeases,
  renewReplica,
  SHARDS,
  takeLeases,
  type LeaseRow,
} from '../store/lease-rows.js';
import { LeaseSession } from './lease-session.js';
import type { LeaseListener, Leases, LeaseTopic } from './leases.js';
import type { MeshLogger } from '../observability/mesh-logger.js';

/** How long a lease lasts after the last heartbeat of its holder, in ms. */
const LEASE_MS = 6000;
const HEARTBEAT_MS = 1500;

const NOTHING: ReadonlyMap<number, number> = new Map();

/**
 * Leases in the tables of one PostgreSQL database, over a connection of their own so that they don't wait behind the work.
 * Each replica sends a heartbeat, takes its fair share of the free shards, and gives back what exceeds that share when other
 * replicas come. All times are the database's, because the clocks of processes differ. A replica whose session ended is
 * succeeded at once, one that is paused or cut off when its lease expires.
 */
export class PostgresLeases implements Leases {
  private session?: LeaseSession;
  private tokens = new Map<string, Map<number, number>>();
  /** On the clock of `performance.now()`, which is never set back. */
  private validUntil = 0;
  private otherReplicas = 0;
  private timer?: NodeJS.Timeout;
  private heartbeatInFlight?: Promise<void>;
  private isHeartbeatWanted = false;
  private isStopped = true;
  private listener: LeaseListener = () => undefined;

  /**
   * @param resources that this process works on
   * @param notifies whether processes wake each other by NOTIFY; they poll in any case
   */
  constructor(
    private readonly connection: SessionConfig,
    private readonly resources: readonly string[],
    private readonly notifies: boolean,
    private readonly logger: MeshLogger,
  ) {}

  held(resource: string): ReadonlyMap<number, number> {
    return (performance.now() < this.validUntil && this.tokens.get(resource)) || NOTHING;
  }

  /** Also when there have never been any. A heartbeat or two that fail make no difference: a lease lasts for four. */
  get areLost(): boolean {
    return !this.isStopped && performance.now() >= this.validUntil;
  }

  async start(listener: LeaseListener): Promise<void> {
    this.listener = listener;
    this.isStopped = false;
    await this.heartbeat();
  }

  refresh(): void {
    if (!this.isStopped && !this.heartbeatInFlight) void this.heartbeat();
  }

  notify(topic: LeaseTopic): void {
    if (this.otherReplicas > 0) this.session?.notify(topic);
  }

  async stop(): Promise<void> {
    this.isStopped = true;
    clearTimeout(this.timer);
    // A database that doesn't respond isn't waited for. A heartbeat that ends later finds the leases stopped.
    await Promise.race([this.heartbeatInFlight, wait(RESPONSE_TIMEOUT_MS, undefined, { ref: false })]);
    const { session } = this;
    this.dropSession();
    try {
      await session?.leave();
    } catch (error) {
      this.logger.warn({ err: error }, 'The leases could not be given back: they expire by themselves');
    }
  }

  /** Renews the leases and schedules the next heartbeat. */
  private heartbeat(): Promise<void> {
    this.isHeartbeatWanted = this.heartbeatInFlight !== undefined;
    this.heartbeatInFlight ??= this.renew().finally(() => {
      this.heartbeatInFlight = undefined;
      clearTimeout(this.timer);
      if (!this.isStopped)
        this.timer = setTimeout(() => void this.heartbeat(), this.isHeartbeatWanted ? 1 : HEARTBEAT_MS);
    });
    return this.heartbeatInFlight;
  }

  private async renew(): Promise<void> {
    const began = performance.now();
    try {
      const session = (this.session ??= await this.open());
      const before = this.tokens;
      // After LEASE_MS no shard is held any more: the connection is closed and the next heartbeat opens a new one.
      const leases = await withTimeout(session.client, this.claimFairShare(session), LEASE_MS);
      if (this.session !== session) return;
      session.announce();
      this.tokens = new Map(this.resources.map((resource) => [resource, new Map<number, number>()]));
      for (const { part, shard, token } of leases) this.tokens.get(part)!.set(shard, Number(token));
      const hadExpired = this.validUntil < performance.now();
      this.validUntil = began + LEASE_MS;
      const isNew = ({ part, shard, token }: LeaseRow) => before.get(part)?.get(shard) !== Number(token);
      if (!this.isStopped && (hadExpired || leases.some(isNew))) this.listener('leases');
    } catch (error) {
      const effect = this.areLost ? 'this process handles no messages' : 'trying again until they expire';
      this.logger.warn({ err: error }, `The leases could not be renewed: ${effect}`);
      // The next heartbeat opens a new session.
      if (isStale(error)) await this.session?.close();
    }
  }

  private async open(): Promise<LeaseSession> {
    let session: LeaseSession | undefined = undefined;
    const opened = await LeaseSession.open(this.connection, this.resources, this.notifies, {
      timeoutMs: LEASE_MS,
      onEnd: () => {
        if (session && this.session === session) this.dropSession();
      },
      onNotify: (topic) => this.onNotify(topic),
    });
    session = opened;
    if (!this.isStopped) return opened;
    await opened.close();
    throw new Error('The leases were stopped meanwhile');
  }

  /** Takes or gives back shards until this replica has its fair share. @returns the leases that it holds then */
  private async claimFairShare(session: LeaseSession): Promise<LeaseRow[]> {
    const { client, replica } = session;
    await renewReplica(client, replica, this.resources, this.notifies, LEASE_MS);
    const replicas = await listReplicas(client, LEASE_MS);
    const gone = replicas.filter(({ is_alive }) => !is_alive).map((it) => it.replica);
    if (gone.length > 0) await deleteReplicas(client, gone);
    const alive = replicas.filter((it) => !gone.includes(it.replica));
    this.otherReplicas = new Set(alive.map((it) => it.replica)).size - 1;
    let all = await listLeases(client, this.resources);
    if (all.length < this.resources.length * SHARDS) {
      this.logger.warn({ found: all.length }, 'Rows of mesh_lease are missing: making them again');
      await createLeases(client, this.resources);
      all = await listLeases(client, this.resources);
    }
    let changes = 0;
    for (const resource of this.resources) {
      const sharing = new Set(alive.filter(({ part }) => part === resource).map((it) => it.replica)).add(replica);
      const fair = Math.ceil(SHARDS / sharing.size);
      const leases = all.filter(({ part }) => part === resource);
      const own = leases.filter(({ holder }) => holder === replica).length;
      const free = leases.filter(({ holder }) => holder === null || !sharing.has(holder)).length;
      if (own > fair) {
        const released = await releaseLeases(client, replica, resource, own - fair);
        if (released > 0) session.notify('leases');
        changes += released;
      } else if (free > 0 && own < fair) {
        changes += await takeLeases(client, replica, resource, fair - own);
      }
    }
    const now = changes > 0 ? await listLeases(client, this.resources) : all;
    return now.filter(({ holder }) => holder === replica);
  }

  private dropSession(): void {
    this.session = undefined;
    this.tokens = new Map();
    this.otherReplicas = 0;
  }

  private onNotify(topic: string): void {
    if (this.isStopped) return;
    if (topic === 'leases') void this.heartbeat();
    else if (topic === 'outbox' || topic === 'deliveries') this.listener(topic);
  }
}
