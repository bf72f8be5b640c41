import type { ServerResponse } from 'node:http';
import { MeshLogger } from '../observability/mesh-logger.js';
import * as telemetry from '../observability/telemetry.js';
import { replicasOf } from '../store/lease-statistics.js';
import { outboxStatistics, type OutboxStatistics } from '../store/statistics.js';
import type { Relay } from '../outbox/relay.js';
import type { UnitOfWork } from '../persistence/unit-of-work.js';
import { Second } from './second.js';

const INTERVAL_MS = 1000;
/** Browsers that may watch a process at a time. */
export const MAX_VIEWERS = 20;
/** A browser that doesn't read gets nothing more until it has read this, in bytes. */
const MAX_UNREAD = 256 * 1024;
/** Counting many messages takes a while, and on SQLite nothing else runs meanwhile: it gets at most this part of the time. */
const COUNTING_PART = 0.05;

/** What the process is, in all messages of the feed. */
export type ProcessFacts = Readonly<Record<string, unknown>>;

/** Sends what happens in this process to the browsers that watch: once a second, and nothing is counted while none does. */
export class ConsoleFeed {
  private readonly logger = new MeshLogger('Console');
  private readonly viewers = new Set<ServerResponse>();
  private second = new Second();
  private timer?: NodeJS.Timeout;
  private stopListening: (() => void)[] = [];
  private counted: { outbox?: OutboxStatistics; replicas?: object[] } = {};
  private countAgainAt = 0;

  /** @param senderOf the name of a module, or of another system, by the source of its events */
  constructor(
    private readonly work: UnitOfWork,
    private readonly relay: Relay,
    private readonly facts: ProcessFacts,
    private readonly senderOf: (source: string) => string,
  ) {}

  get isFull(): boolean {
    return this.viewers.size >= MAX_VIEWERS;
  }

  /** Sends Server-Sent Events until the browser goes. Its headers have been sent. */
  add(viewer: ServerResponse): void {
    this.viewers.add(viewer);
    viewer.once('close', () => this.remove(viewer));
    if (this.viewers.size === 1) this.start();
    void this.tick();
  }

  close(): void {
    for (const viewer of this.viewers) {
      // A browser that doesn't read would hold up the shutdown.
      if (viewer.writableLength > 0) viewer.destroy();
      else viewer.end();
    }
    this.stop();
  }

  private remove(viewer: ServerResponse): void {
    this.viewers.delete(viewer);
    if (this.viewers.size === 0) this.stop();
  }

  private start(): void {
    this.second = new Second();
    this.countAgainAt = 0;
    this.stopListening = [
      telemetry.DELIVERY.onEnd((delivery) => this.second.delivered(delivery, this.senderOf(delivery.event.source))),
      telemetry.QUERY.onEnd((query, _, error) => this.second.queried(query, error)),
    ];
    this.timer = setInterval(() => void this.tick(), INTERVAL_MS);
  }

  private stop(): void {
    clearInterval(this.timer);
    for (const stop of this.stopListening.splice(0)) stop();
  }

  private async tick(): Promise<void> {
    await this.count();
    const { second } = this;
    this.second = new Second();
    const broker = this.relay.brokerState;
    const state = {
      at: new Date().toISOString(),
      ...this.facts,
      ...(broker && { broker }),
      replicas: [],
      ...this.counted,
      ...second.summary(),
    };
    const text = `event: state\ndata: ${JSON.stringify(state)}\n\n`;
    for (const viewer of this.viewers) if (viewer.writableLength < MAX_UNREAD) viewer.write(text);
  }

  private async count(): Promise<void> {
    if (performance.now() < this.countAgainAt) return;
    this.countAgainAt = Infinity;
    const began = performance.now();
    try {
      const outbox = await outboxStatistics(this.work.sql);
      this.counted = { outbox, replicas: await replicasOf(this.work.sql) };
    } catch (error) {
      this.logger.debug({ err: error }, 'The console shows no figures of the database');
      this.counted = {};
    } finally {
      const took = performance.now() - began;
      this.countAgainAt = began + Math.max(INTERVAL_MS / 2, took / COUNTING_PART);
    }
  }
}
