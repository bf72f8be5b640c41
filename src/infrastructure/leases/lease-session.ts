import { randomInt } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';
import type { Client } from 'pg';
import type { SessionConfig } from '../persistence/postgres/session.js';
import { closeConnection, RESPONSE_TIMEOUT_MS, withTimeout } from '../persistence/postgres/timeouts.js';
import { createLeases, lockReplica, releaseReplica } from '../store/lease-rows.js';
import type { LeaseTopic } from './leases.js';

const CHANNEL = 'mesh';

export interface SessionOptions {
  /** Longest wait for a response of the database, in ms. */
  readonly timeoutMs: number;
  readonly onEnd: () => void;
  /** Called with the topics that other replicas send. */
  readonly onNotify: (topic: string) => void;
}

/** One connection, which is one replica: its leases are free when the connection is gone. */
export class LeaseSession {
  readonly replica = randomInt(1, 2 ** 31);
  private readonly topics = new Set<string>();
  private notifying?: Promise<void>;
  private isAnnounced = false;
  private isOpen = true;

  private constructor(
    readonly client: Client,
    private readonly notifies: boolean,
    private readonly options: SessionOptions,
  ) {}

  /** @throws Error when the database can't be reached or doesn't respond in time */
  static async open(
    connection: SessionConfig,
    resources: readonly string[],
    notifies: boolean,
    options: SessionOptions,
  ): Promise<LeaseSession> {
    const client = new connection.Client({ ...connection, application_name: 'mesh leases', keepAlive: true });
    const session = new LeaseSession(client, notifies, options);
    client.on('error', () => session.ended());
    client.on('end', () => session.ended());
    client.on('notification', ({ payload = '' }) => session.onNotification(payload));
    try {
      await client.connect();
      await withTimeout(client, session.register(resources), options.timeoutMs);
      return session;
    } catch (error) {
      await closeConnection(client);
      throw error;
    }
  }

  /** Tells the other replicas once that this one is there: they may hold more than their fair share now. */
  announce(): void {
    if (!this.isAnnounced) this.notify('leases');
    this.isAnnounced = true;
  }

  /** Wakes the other replicas. Topics that are added before a notification is sent are sent together. */
  notify(topic: LeaseTopic | 'leases'): void {
    if (!this.notifies || !this.isOpen) return;
    this.topics.add(topic);
    this.notifying ??= this.sendNotifications().finally(() => (this.notifying = undefined));
  }

  /** Gives all leases back and ends. @throws Error when the database doesn't respond */
  async leave(): Promise<void> {
    await Promise.race([this.notifying, wait(RESPONSE_TIMEOUT_MS, undefined, { ref: false })]);
    this.isOpen = false;
    try {
      await withTimeout(this.client, this.release());
    } finally {
      await closeConnection(this.client);
    }
  }

  async close(): Promise<void> {
    this.isOpen = false;
    await closeConnection(this.client);
  }

  private async register(resources: readonly string[]): Promise<void> {
    // A heartbeat that is lost with the disk of the database does no harm: tokens are ordered by the database's log.
    await this.client.query('SET synchronous_commit = off; SET statement_timeout = 2000; SET lock_timeout = 0');
    if (this.notifies) {
      await lockReplica(this.client, this.replica);
      await this.client.query(`LISTEN ${CHANNEL}`);
    }
    await createLeases(this.client, resources);
  }

  private async release(): Promise<void> {
    await releaseReplica(this.client, this.replica);
    if (this.notifies) await this.client.query('SELECT pg_notify($1, $2)', [CHANNEL, `${this.replica} leases`]);
  }

  private async sendNotifications(): Promise<void> {
    while (this.topics.size > 0 && this.isOpen) {
      const payloads = [...this.topics].map((topic) => `${this.replica} ${topic}`);
      this.topics.clear();
      const text = 'SELECT pg_notify($1, payload) FROM unnest($2::text[]) AS payload';
      const sent = this.client.query({ name: 'mesh_notify', text, values: [CHANNEL, payloads] });
      // A notification that doesn't arrive costs one poll.
      await withTimeout(this.client, sent, this.options.timeoutMs).catch(() => undefined);
    }
  }

  private onNotification(payload: string): void {
    const [replica, topic = ''] = payload.split(' ');
    if (Number(replica) !== this.replica) this.options.onNotify(topic);
  }

  private ended(): void {
    this.isOpen = false;
    this.options.onEnd();
  }
}
