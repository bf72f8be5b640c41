import { AsyncLocalStorage } from 'node:async_hooks';
import { setTimeout as wait } from 'node:timers/promises';
import type { CloudEvent } from '../cloudevents/cloud-event.js';
import { DATABASE_PAUSE_MS } from '../delivery/consumer.js';
import type { Leases } from '../leases/leases.js';
import type { MeshLogger } from '../observability/mesh-logger.js';
import type { UnitOfWork } from '../persistence/unit-of-work.js';
import { OUTBOX_RESOURCE } from '../store/lease-rows.js';
import { findOutboxEvent, listOutbox } from '../store/outbox-rows.js';
import { SequenceFloor } from '../store/sequence-floor.js';
import type { PartitionQueue, PublishedMessage } from './partition-queue.js';
import type { PartitionQueues } from './partition-queues.js';
import type { PublishRouting } from './publish-routing.js';
import { SearchPause } from './search-pause.js';

const FAILED = 'The outbox could not be read: trying again';

/** Loads messages of the outbox into the queues of the publisher, while there is room and while requests are in flight. */
export class OutboxLoader {
  /** Whether the outbox may hold messages that aren't loaded. */
  hasMore = false;
  /** When the last message was written that a full query read, in ms since 1970: the others of the outbox are younger. */
  lastWrittenAt = 0;
  private isLoading = false;
  private isWoken = false;
  private isStopped = true;
  private next?: NodeJS.Immediate;
  private readonly outside = AsyncLocalStorage.snapshot();
  private readonly floor = new SequenceFloor('mesh_outbox');
  private readonly searchPause = new SearchPause();

  /** @param onLoaded called when messages were added to the queues */
  constructor(
    private readonly work: UnitOfWork,
    private readonly leases: Leases,
    private readonly routing: PublishRouting,
    private readonly queues: PartitionQueues,
    private readonly logger: MeshLogger,
    private readonly onLoaded: () => void,
  ) {}

  /** Whether it reads, or is about to. */
  get isBusy(): boolean {
    return this.isLoading || this.next !== undefined;
  }

  start(): void {
    this.isStopped = false;
    this.wake();
  }

  stop(): void {
    this.isStopped = true;
    this.searchPause.cancel();
  }

  /** Reads the outbox, now or as soon as the present query has ended. */
  wake(): void {
    this.isWoken = true;
    if (this.isLoading || this.isStopped) return;
    this.isLoading = true;
    // Outside of any request context, although the commit of a request woke this loop.
    void this.outside(() => this.load());
  }

  /** Reads the outbox if the queues have become half empty: in the next turn, when the requests of this one are written. */
  replenish(): void {
    if (!(this.hasMore || this.isWoken) || !this.queues.isHalfEmpty || this.waitsForSearch()) return;
    if (this.isLoading) return this.wake();
    this.next ??= setImmediate(() => {
      this.next = undefined;
      this.wake();
    });
  }

  /** Reads a failed message again. @returns undefined when it can't be sent now, or has left the outbox */
  async reload(partition: PartitionQueue, { seq }: PublishedMessage): Promise<CloudEvent | undefined> {
    try {
      const event = await findOutboxEvent(this.work.sql, seq);
      if (event !== undefined) return JSON.parse(event) as CloudEvent;
      // Another process has published it, or moved it to the dead letters.
      this.queues.unload(partition);
      this.wake();
    } catch (error) {
      this.logger.warn({ err: error }, FAILED);
      this.queues.putBack(partition, performance.now() + DATABASE_PAUSE_MS);
    }
    return undefined;
  }

  private async load(): Promise<void> {
    try {
      while (this.isWoken && !this.isStopped && this.queues.room > 0 && !this.waitsForSearch()) await this.loadOnce();
    } catch (error) {
      this.logger.warn({ err: error }, FAILED);
      void wait(DATABASE_PAUSE_MS).then(() => this.wake());
    } finally {
      this.isLoading = false;
    }
  }

  /** Whether a query has to wait because it would search beside a full group. */
  private waitsForSearch(): boolean {
    if (!this.queues.hasFullGroup || this.searchPause.isOver) return false;
    this.searchPause.whenOver(() => this.wake());
    return true;
  }

  private async loadOnce(): Promise<void> {
    const { sql } = this.work;
    this.isWoken = false;
    const began = performance.now();
    const floor = await this.floor.current(sql);
    this.queues.unloadLost();
    const { unloads } = this.queues.messages;
    const held = this.leases.held(OUTBOX_RESOURCE);
    // PostgreSQL may commit a message later than one with a larger number, but none below the floor.
    const query = this.queues.query(sql.dialect === 'sqlite' ? undefined : floor);
    const { rows, more } = await listOutbox(sql, { ...query, routes: this.routing.routes, held });
    if (query.excluded.groups.length > 0) this.searchPause.begin(performance.now() - began);
    else this.searchPause.putOff();
    // A message failed during the query: later ones of its queue may be among the rows without it.
    if (unloads !== this.queues.messages.unloads) {
      this.isWoken = true;
      return;
    }
    this.queues.add(rows, held);
    this.hasMore = more;
    if (rows.length > 0) this.floor.read(rows.at(-1)!.seq);
    this.lastWrittenAt = rows.at(-1)?.created_at ?? this.lastWrittenAt;
    if (more) this.isWoken = true;
    this.onLoaded();
  }
}
