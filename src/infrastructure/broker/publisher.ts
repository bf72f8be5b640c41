import { AsyncLocalStorage } from 'node:async_hooks';
import { setTimeout as wait } from 'node:timers/promises';
import { requestContextOf, type CloudEvent } from '../cloudevents/cloud-event.js';
import type { Journal } from '../delivery/journal.js';
import { DATABASE_PAUSE_MS, MESSAGE_UNIT } from '../delivery/consumer.js';
import type { Leases } from '../leases/leases.js';
import { DEAD_LETTER, PUBLISHING } from '../observability/telemetry.js';
import { runInContext } from '../observability/request-context.js';
import type { BrokerState, OutboxDispatcher } from '../outbox/outbox-dispatcher.js';
import type { UnitOfWork } from '../persistence/unit-of-work.js';
import { insertDeadLetter, UNPUBLISHED } from '../store/dead-letter-rows.js';
import { OUTBOX_RESOURCE } from '../store/lease-rows.js';
import { findOutboxEvent, listOutbox, removeFromOutbox } from '../store/outbox-rows.js';
import { SequenceFloor } from '../store/sequence-floor.js';
import { Acknowledgements } from './acknowledgements.js';
import { BrokerHealth, pauseMs } from './broker-health.js';
import { Bulkheads } from './bulkheads.js';
import type { CloudEventsClient } from './cloudevents-client.js';
import type { PartitionQueue, PublishedMessage } from './partition-queue.js';
import { PartitionQueues } from './partition-queues.js';
import { publish, type FailedAttempt } from './publish-attempt.js';
import type { PublishRouting } from './publish-routing.js';
import { SearchPause } from './search-pause.js';
import type { MeshLogger } from '../observability/mesh-logger.js';

/**
 * Dispatches the outbox to a broker. The outbox is the record: an event that isn't accepted stays there and is sent again,
 * with the same id, for as long as it takes. Commands of a partition key to one module leave one after the other, and so
 * do the events of a key. If the process crashes before an accepted event is removed, the event is sent again and the
 * inboxes of its consumers drop it.
 */
export class Publisher implements OutboxDispatcher {
  private readonly outside = AsyncLocalStorage.snapshot();
  private readonly queues: PartitionQueues;
  private readonly health: BrokerHealth;
  private readonly acknowledgements: Acknowledgements;
  private readonly bulkheads = new Bulkheads();
  private readonly floor = new SequenceFloor('mesh_outbox');
  /** Attempts while the broker was unavailable. */
  private probes = 0;
  private timer?: NodeJS.Timeout;
  private readonly searchPause = new SearchPause();
  private isLoading = false;
  private isWoken = false;
  /** Whether the outbox may hold messages that aren't loaded. */
  private hasMore = false;
  /** When the last message was written that a full query read, in ms since 1970: the others of the outbox are younger. */
  private lastWrittenAt = 0;
  private isStopped = true;
  private isAborted = false;

  /** @param leases the shards of the outbox that this process publishes */
  constructor(
    private readonly work: UnitOfWork,
    private readonly client: Pick<CloudEventsClient, 'post' | 'abort'>,
    private readonly url: string,
    private readonly leases: Leases,
    private readonly routing: PublishRouting,
    private readonly journal: Journal,
    private readonly logger: MeshLogger,
  ) {
    this.queues = new PartitionQueues(() => leases.held(OUTBOX_RESOURCE), routing.routeOf);
    this.health = new BrokerHealth(url, logger);
    this.acknowledgements = new Acknowledgements(work, logger, (seqs) => {
      this.queues.removed(seqs);
      this.replenish();
    });
  }

  /** Messages that wait for an unavailable broker, or for consumers behind the broker, don't count. */
  get isBusy(): boolean {
    this.bulkheads.ageAt(performance.now());
    const isReady = !this.health.isUnavailable && this.queues.hasReady(this.hasRoom);
    return this.isLoading || this.bulkheads.freshCount > 0 || this.acknowledgements.isBusy || isReady;
  }

  /** Messages that wait for the broker, or for consumers behind it, don't count. */
  get backlogAgeMs(): number {
    const { refused, unreachable, waiting } = this.brokerState;
    const isWorking = !refused && !unreachable && waiting.requests === 0;
    return this.hasMore && isWorking ? Date.now() - this.lastWrittenAt : 0;
  }

  get suspendedReason(): string | undefined {
    return this.health.suspendedReason;
  }

  get brokerState(): BrokerState {
    const { refused, unreachable } = this.health;
    return { waiting: this.bulkheads.waiting, ...(refused && { refused }), ...(unreachable && { unreachable }) };
  }

  start(): void {
    this.isStopped = this.isAborted = false;
    this.wake();
  }

  async stop(deadline: number): Promise<void> {
    this.isStopped = true;
    clearTimeout(this.timer);
    this.searchPause.cancel();
    const abort = () => {
      this.isAborted = true;
      void this.client.abort();
    };
    const late = setTimeout(abort, Math.max(0, deadline - performance.now()));
    while (this.isLoading || this.bulkheads.openCount > 0) await wait(5);
    clearTimeout(late);
    await this.acknowledgements.flush();
    await this.client.abort();
  }

  wake(): void {
    this.isWoken = true;
    if (this.isLoading || this.isStopped) return;
    this.isLoading = true;
    // Outside of any request context, although the commit of a request woke this loop.
    void this.outside(() => this.load());
  }

  /** Loads messages of the outbox while there is room. */
  private async load(): Promise<void> {
    try {
      while (this.isWoken && !this.isStopped && this.queues.room > 0) {
        if (this.queues.hasFullGroup && !this.searchPause.isOver) {
          this.searchPause.whenOver(() => this.wake());
          break;
        }
        this.isWoken = false;
        const began = performance.now();
        const floor = await this.floor.current(this.work.sql);
        this.queues.unloadLost();
        const { room, unloads, loaded, excluded, loadAfter } = this.queues;
        const held = this.leases.held(OUTBOX_RESOURCE);
        const { routes } = this.routing;
        // PostgreSQL may commit a message later than one with a larger number, but none below the floor.
        const after = this.work.sql.dialect === 'sqlite' ? loadAfter : floor;
        const query = { loaded, excluded, routes, after, limit: room, held };
        const { rows, more } = await listOutbox(this.work.sql, query);
        this.searchPause.begin(excluded.groups.length > 0 ? performance.now() - began : 0);
        // A message failed during the query: later ones of its queue may be among the rows without it.
        if (unloads !== this.queues.unloads) {
          this.isWoken = true;
          continue;
        }
        this.queues.add(rows, held);
        this.hasMore = more;
        if (rows.length > 0) this.floor.read(rows.at(-1)!.seq);
        this.lastWrittenAt = rows.at(-1)?.created_at ?? this.lastWrittenAt;
        if (this.hasMore) this.isWoken = true;
        this.sendReady();
        this.replenish();
      }
    } catch (error) {
      this.logger.warn({ err: error }, 'The outbox could not be read: trying again');
      this.wakeIn(DATABASE_PAUSE_MS);
    } finally {
      this.isLoading = false;
    }
  }

  private replenish(): void {
    if ((this.hasMore || this.isWoken) && this.queues.isHalfEmpty) this.wake();
  }

  /** Sends what may be sent now. */
  private sendReady(): void {
    while (!this.isStopped && !this.queues.isEmpty) {
      const now = performance.now();
      this.bulkheads.ageAt(now);
      if (this.health.isUnavailable && this.bulkheads.freshCount > 0) return;
      if (this.bulkheads.openCount >= this.queues.maxInFlight) return;
      const isPaused = this.health.pausedUntil > now;
      const partition = isPaused ? undefined : this.queues.take(now, this.prefersFresh(), this.hasRoom);
      if (!partition) {
        const next = isPaused ? this.health.pausedUntil : this.queues.nextReadyAfter(now);
        return this.wakeIn(Math.min(next, this.bulkheads.nextSlowAt) - now);
      }
      if (!this.queues.isOurs(partition)) {
        this.queues.unload(partition);
        continue;
      }
      const { group, type } = partition.messages[0]!;
      const request = this.bulkheads.start(group, type);
      void this.send(partition).then(() => {
        this.bulkheads.end(request);
        this.sendReady();
      });
    }
  }

  private readonly hasRoom = (group: string) => this.bulkheads.hasRoom(group);

  /** A message that hasn't failed tells more of an unavailable broker; every other probe is for one that has. */
  private prefersFresh(): boolean {
    return this.health.isUnavailable && this.probes++ % 2 === 0;
  }

  /** One attempt for the first message of a queue; never throws. */
  private async send(partition: PartitionQueue): Promise<void> {
    const message = partition.messages[0]!;
    const event = message.event ?? (await this.reload(partition, message));
    if (!event) return;
    // Reading the event again may have taken a while.
    if (this.isStopped || !this.queues.isOurs(partition)) return this.queues.unload(partition);
    message.attempts++;
    const began = Date.now();
    const post = () => publish(this.client, this.url, event, () => this.health.isFaultOfMessage(message));
    const outcome = await PUBLISHING.run({ event }, post, ({ kind }) => kind);
    await runInContext(requestContextOf(event), async () => {
      if (outcome.kind === 'dead') return this.deadLetter(partition, event, outcome.error);
      if (outcome.kind !== 'accepted') return this.retryLater(partition, event, outcome);
      this.accepted(partition, message);
      const times = { lagMs: began - Date.parse(event.time ?? ''), ms: Date.now() - began };
      this.logger.message({ ...factsOf(event), ...times }, 'published');
    });
  }

  /** Reads a failed message again. @returns undefined when it can't be sent now, or has left the outbox */
  private async reload(partition: PartitionQueue, { seq }: PublishedMessage): Promise<CloudEvent | undefined> {
    try {
      const event = await findOutboxEvent(this.work.sql, seq);
      if (event !== undefined) return JSON.parse(event) as CloudEvent;
      // Another process has published it, or moved it to the dead letters.
      this.queues.unload(partition);
      this.wake();
    } catch (error) {
      this.logger.warn({ err: error }, 'The outbox could not be read: trying again');
      this.queues.putBack(partition, performance.now() + DATABASE_PAUSE_MS);
    }
    return undefined;
  }

  private accepted(partition: PartitionQueue, { seq }: PublishedMessage): void {
    if (this.health.succeeded()) this.queues.retryNow();
    this.acknowledgements.add(seq);
    this.advance(partition);
  }

  private advance(partition: PartitionQueue): void {
    if (this.queues.advance(partition)) this.hasMore = true;
    this.replenish();
  }

  private retryLater(partition: PartitionQueue, event: CloudEvent, failure: FailedAttempt): void {
    if (this.isAborted) return;
    const { attempts } = partition.messages[0]!;
    this.health.failed(event.id, failure, { ...factsOf(event), attempts, err: failure.error });
    const notBefore = performance.now() + Math.max(pauseMs(attempts), failure.retryAfterMs);
    if (this.queues.retryLater(partition, notBefore)) this.hasMore = true;
    this.replenish();
  }

  private async deadLetter(partition: PartitionQueue, event: CloudEvent, error: Error): Promise<void> {
    const { seq, attempts } = partition.messages[0]!;
    try {
      await this.work.run(async () => {
        const { sql } = this.work;
        if ((await removeFromOutbox(sql, [seq])) === 0) return;
        await insertDeadLetter(sql, { event, attempts, error, consumer: UNPUBLISHED });
        await this.journal.add(sql, { event, attempts, consumer: UNPUBLISHED, outcome: 'dead' });
      }, MESSAGE_UNIT);
    } catch (unrecorded) {
      this.logger.warn({ ...factsOf(event), err: unrecorded }, 'A dead letter could not be stored: trying again');
      this.queues.retryLater(partition, performance.now() + DATABASE_PAUSE_MS);
      return;
    }
    this.queues.removed([seq]);
    DEAD_LETTER.publish({ consumer: UNPUBLISHED, event, attempts });
    this.logger.error({ ...factsOf(event), attempts, err: error }, 'The broker refuses the event: now a dead letter');
    this.advance(partition);
  }

  private wakeIn(ms: number): void {
    clearTimeout(this.timer);
    if (this.isStopped || ms === Infinity) return;
    const ring = () => {
      this.sendReady();
      this.wake();
    };
    this.timer = setTimeout(ring, Math.max(1, ms));
  }
}

function factsOf({ id, type, subject }: CloudEvent) {
  return { type, subject, event: id };
}
