import { randomInt } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';
import type { Logger } from '@nestjs/common';
import type { Client, ClientConfig } from 'pg';
import { RESPONSE_TIMEOUT_MS, withTimeout, closeConnection } from '../persistence/postgres/timeouts.js';
import { SHARDS, type LeaseListener, type Leases, type LeaseTopic } from './leases.js';

/** A lease lasts so long after its holder was last heard of, and is renewed so often; in ms. */
const LEASE_MS = 6000;
const HEARTBEAT_MS = 1500;
const CHANNEL = 'mesh';
/** Says in `pg_locks` that a replica's session lives: the letters MESH. */
const LOCK_CLASS = 0x4d455348;

interface LeaseRow {
  readonly part: string;
  readonly shard: number;
  readonly token: string;
  readonly holder: number | null;
}

/**
 * Leases in the tables of one PostgreSQL database, over a connection of their own, so that they don't wait behind the work.
 * Each process says every now and then that it is there, takes its fair share of what nobody has, and gives back what
 * is more than that when others come. All times are the database's: the clocks of processes may differ. Who is
 * gone with its connection is succeeded at once, who is paused or cut off when its lease has run out.
 */
export class PostgresLeases implements Leases {
  private client?: Client;
  private replica = 0;
  private tokens = new Map<string, Map<number, number>>();
  /** On the clock of `performance.now()`, which no one sets back. */
  private validUntil = 0;
  private otherReplicas = 0;
  private timer?: NodeJS.Timeout;
  private heartbeatInFlight?: Promise<void>;
  private isHeartbeatWanted = false;
  private isNewReplica = false;
  private stopped = true;
  private pendingTopics = new Set<string>();
  private notifying?: Promise<void>;
  private listener: LeaseListener = () => undefined;

  /**
   * @param resources of the work that this process takes part in
   * @param notifies whether processes wake each other by NOTIFY; they poll anyway
   */
  constructor(
    private readonly connection: ClientConfig,
    private readonly resources: readonly string[],
    private readonly notifies: boolean,
    private readonly logger: Logger,
  ) {}

  held(part: string): ReadonlyMap<number, number> {
    return (performance.now() < this.validUntil && this.tokens.get(part)) || NOTHING;
  }

  async start(listener: LeaseListener): Promise<void> {
    this.listener = listener;
    this.stopped = false;
    await this.heartbeat();
  }

  refresh(): void {
    if (!this.stopped && !this.heartbeatInFlight) void this.heartbeat();
  }

  notify(what: LeaseTopic): void {
    if (this.otherReplicas > 0) this.sendTopic(what);
  }

  async stop(): Promise<void> {
    this.stopped = true;
    clearTimeout(this.timer);
    // A database that doesn't answer isn't waited for; a round that is late finds that all is over.
    await Promise.race([
      Promise.all([this.heartbeatInFlight, this.notifying]),
      wait(RESPONSE_TIMEOUT_MS, undefined, { ref: false }),
    ]);
    const { client, replica } = this;
    this.dropConnection();
    if (!client) return;
    try {
      await withTimeout(client, this.leave(client, replica));
    } catch (error) {
      this.logger.warn({ err: error }, 'Leases could not be given back; they run out by themselves');
    }
    await closeConnection(client);
  }

  private async leave(client: Client, replica: number): Promise<void> {
    await client.query('UPDATE mesh_lease SET holder = NULL, token = token + 1 WHERE holder = $1', [replica]);
    await client.query('DELETE FROM mesh_replica WHERE replica = $1', [replica]);
    if (this.notifies) await client.query('SELECT pg_notify($1, $2)', [CHANNEL, `${replica} leases`]);
  }

  /** Says that we are there, and sees what is ours now; the next round follows by itself. */
  private heartbeat(): Promise<void> {
    this.isHeartbeatWanted = this.heartbeatInFlight !== undefined;
    this.heartbeatInFlight ??= this.round().finally(() => {
      this.heartbeatInFlight = undefined;
      clearTimeout(this.timer);
      if (!this.stopped)
        this.timer = setTimeout(() => void this.heartbeat(), this.isHeartbeatWanted ? 1 : HEARTBEAT_MS);
    });
    return this.heartbeatInFlight;
  }

  private async round(): Promise<void> {
    const began = performance.now();
    try {
      const client = (this.client ??= await this.connect());
      const before = this.tokens;
      // Nothing is ours any more by then. Whoever is late is cut off, and the next round begins with a new connection.
      const rows = await withTimeout(client, this.claimFairShare(client), LEASE_MS);
      if (this.client !== client) return;
      // Somebody may have more than is fair, and doesn't know yet that we are there. Said once: there may be more of us
      // than there is to share.
      if (this.isNewReplica) this.sendTopic('leases');
      this.isNewReplica = false;
      this.tokens = new Map(this.resources.map((part) => [part, new Map<number, number>()]));
      for (const { part, shard, token } of rows) this.tokens.get(part)!.set(shard, Number(token));
      const wasOver = this.validUntil < performance.now();
      this.validUntil = began + LEASE_MS;
      const isNew = ({ part, shard, token }: LeaseRow) => before.get(part)?.get(shard) !== Number(token);
      if (!this.stopped && (wasOver || rows.some(isNew))) this.listener('leases');
    } catch (error) {
      // What we have lasts until it runs out.
      this.logger.warn({ err: error }, 'Leases could not be renewed; trying again');
    }
  }

  private async claimFairShare(client: Client): Promise<LeaseRow[]> {
    await this.sendHeartbeat(client);
    return this.balance(client);
  }

  private async sendHeartbeat(client: Client): Promise<void> {
    await client.query({
      name: 'mesh_hello',
      text: `INSERT INTO mesh_replica (replica, part, has_session, expires_at)
             SELECT $1, part, $3, clock_timestamp() + $4 * interval '1 millisecond' FROM unnest($2::text[]) AS part
             ON CONFLICT (replica, part) DO UPDATE SET expires_at = excluded.expires_at`,
      values: [this.replica, this.resources, this.notifies, LEASE_MS],
    });
  }

  /** Takes and gives back what a fair share asks for. @returns what is ours then */
  private async balance(client: Client): Promise<LeaseRow[]> {
    const { rows: replicas } = await client.query<{ replica: number; part: string; is_alive: boolean }>({
      name: 'mesh_replicas',
      text: `SELECT replica, part, expires_at > clock_timestamp() AND (NOT has_session OR EXISTS (
               SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted AND classid = ${LOCK_CLASS}
               AND objid = replica AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
             )) AS is_alive FROM mesh_replica`,
    });
    const gone = replicas.filter(({ is_alive }) => !is_alive).map(({ replica }) => replica);
    if (gone.length > 0) await client.query('DELETE FROM mesh_replica WHERE replica = ANY($1)', [gone]);
    const alive = replicas.filter(({ replica }) => !gone.includes(replica));
    this.otherReplicas = new Set(alive.map(({ replica }) => replica)).size - 1;
    const all = await this.leases(client);
    let hasChanged = false;
    for (const part of this.resources) {
      const sharers = new Set(alive.filter((it) => it.part === part).map(({ replica }) => replica)).add(this.replica);
      const fair = Math.ceil(SHARDS / sharers.size);
      const ofPart = all.filter((lease) => lease.part === part);
      const ours = ofPart.filter(({ holder }) => holder === this.replica).length;
      const free = ofPart.filter(({ holder }) => holder === null || !sharers.has(holder)).length;
      if (ours > fair) hasChanged = (await this.giveBack(client, part, ours - fair)) || hasChanged;
      else if (free > 0 && ours < fair) hasChanged = (await this.take(client, part, fair - ours)) || hasChanged;
    }
    const now = hasChanged ? await this.leases(client) : all;
    return now.filter(({ holder }) => holder === this.replica);
  }

  private async leases(client: Client): Promise<LeaseRow[]> {
    const text = 'SELECT part, shard, token, holder FROM mesh_lease WHERE part = ANY($1) ORDER BY part, shard';
    return (await client.query<LeaseRow>({ name: 'mesh_leases', text, values: [this.resources] })).rows;
  }

  private async take(client: Client, part: string, howMany: number): Promise<boolean> {
    // One that is locked is being used by somebody who is gone or going: the next round gets it.
    const { rowCount } = await client.query(
      `UPDATE mesh_lease SET holder = $1, token = token + 1 WHERE part = $2 AND shard = ANY(ARRAY(
         SELECT shard FROM mesh_lease
         WHERE part = $2 AND (holder IS NULL OR holder NOT IN (SELECT replica FROM mesh_replica WHERE part = $2))
         ORDER BY shard LIMIT $3 FOR UPDATE SKIP LOCKED))`,
      [this.replica, part, howMany],
    );
    return (rowCount ?? 0) > 0;
  }

  private async giveBack(client: Client, part: string, howMany: number): Promise<boolean> {
    // What is under way in them is fenced off from now on, and begins again with its next holder.
    const { rowCount } = await client.query(
      `UPDATE mesh_lease SET holder = NULL, token = token + 1 WHERE part = $2 AND shard = ANY(ARRAY(
         SELECT shard FROM mesh_lease WHERE part = $2 AND holder = $1 ORDER BY shard DESC LIMIT $3
         FOR UPDATE SKIP LOCKED))`,
      [this.replica, part, howMany],
    );
    if (rowCount) this.sendTopic('leases');
    return (rowCount ?? 0) > 0;
  }

  /** A new connection is a new replica: what the old one had is free. */
  private async connect(): Promise<Client> {
    // Loaded where it is needed: most processes start on SQLite.
    const { default: pg } = await import('pg');
    const client = new pg.Client({ ...this.connection, ...{ application_name: 'mesh leases', keepAlive: true } });
    const lost = () => {
      if (this.client === client) this.dropConnection();
    };
    client.on('error', lost);
    client.on('end', lost);
    client.on('notification', ({ payload = '' }) => this.onNotification(payload));
    try {
      await client.connect();
      await withTimeout(client, this.registerReplica(client), LEASE_MS);
      if (this.stopped) throw new Error('It was stopped meanwhile');
      return client;
    } catch (error) {
      await closeConnection(client);
      throw error;
    }
  }

  private async registerReplica(client: Client): Promise<void> {
    // A beat that is lost with the disk of the database costs nothing: tokens are ordered by its log.
    await client.query('SET synchronous_commit = off; SET statement_timeout = 2000');
    this.replica = randomInt(1, 2 ** 31);
    this.isNewReplica = true;
    if (this.notifies) {
      await client.query('SELECT pg_advisory_lock($1, $2)', [LOCK_CLASS, this.replica]);
      await client.query(`LISTEN ${CHANNEL}`);
    }
    await client.query(
      `INSERT INTO mesh_lease (part, shard, token) SELECT part, shard, 0
       FROM unnest($1::text[]) AS part, generate_series(0, $2 - 1) AS shard ON CONFLICT DO NOTHING`,
      [this.resources, SHARDS],
    );
  }

  private dropConnection(): void {
    this.client = undefined;
    this.tokens = new Map();
    this.otherReplicas = 0;
  }

  private onNotification(payload: string): void {
    const [from, what] = payload.split(' ');
    if (this.stopped || Number(from) === this.replica) return;
    if (what === 'leases') void this.heartbeat();
    else if (what === 'outbox' || what === 'deliveries') this.listener(what);
  }

  private sendTopic(what: LeaseTopic | 'leases'): void {
    if (!this.notifies || this.stopped) return;
    this.pendingTopics.add(what);
    this.notifying ??= this.sendNotifications().finally(() => (this.notifying = undefined));
  }

  private async sendNotifications(): Promise<void> {
    while (this.pendingTopics.size > 0) {
      const payloads = [...this.pendingTopics].map((what) => `${this.replica} ${what}`);
      this.pendingTopics.clear();
      const text = 'SELECT pg_notify($1, payload) FROM unnest($2::text[]) AS payload';
      const { client } = this;
      if (!client) continue;
      const sent = client.query({ name: 'mesh_notify', text, values: [CHANNEL, payloads] });
      // One that doesn't arrive costs a poll.
      await withTimeout(client, sent, LEASE_MS).catch(() => undefined);
    }
  }
}

const NOTHING: ReadonlyMap<number, number> = new Map();
