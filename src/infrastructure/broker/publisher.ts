import { setTimeout as wait } from 'node:timers/promises';
import { requestContextOf, type CloudEvent } from '../cloudevents/cloud-event.js';
import type { Journal } from '../delivery/journal.js';
import { DATABASE_PAUSE_MS } from '../delivery/consumer.js';
import type { Leases } from '../leases/leases.js';
import { MeshLogger } from '../observability/mesh-logger.js';
import { PUBLISHING } from '../observability/telemetry.js';
import { runInContext } from '../observability/request-context.js';
import type { BrokerState, OutboxDispatcher } from '../outbox/outbox-dispatcher.js';
import type { UnitOfWork } from '../persistence/unit-of-work.js';
import { OUTBOX_RESOURCE } from '../store/lease-rows.js';
import { Acknowledgements } from './acknowledgements.js';
import { BrokerHealth, pauseMs } from './broker-health.js';
import { Bulkheads } from './bulkheads.js';
import type { CloudEventsClient } from './cloudevents-client.js';
import { OutboxLoader } from './outbox-loader.js';
import type { PartitionQueue } from './partition-queue.js';
import { PartitionQueues } from './partition-queues.js';
import { publish, type FailedAttempt, type FailedPublishing } from './publish-attempt.js';
import type { PublishRouting } from './publish-routing.js';
import { PublishSchedule } from './publish-schedule.js';
import { deadLetterUnpublished } from './unpublished.js';

/**
 * Dispatches the outbox to a broker. The outbox is the record: an event that isn't accepted stays there and is sent again,
 * with the same id, for as long as it takes. Commands of a partition key to one module leave one after the other, and so
 * do the events of a key. If the process crashes before an accepted event is removed, the event is sent again and the
 * inboxes of its consumers drop it.
 */
export class Publisher implements OutboxDispatcher {
  private readonly queues: PartitionQueues;
  private readonly loader: OutboxLoader;
  private readonly health: BrokerHealth;
  private readonly acknowledgements: Acknowledgements;
  private readonly bulkheads = new Bulkheads();
  private readonly schedule: PublishSchedule;
  private sending?: NodeJS.Immediate;
  private isStopped = true;
  private isAborted = false;

  /** @param leases the shards of the outbox that this process publishes */
  constructor(
    private readonly work: UnitOfWork,
    private readonly client: Pick<CloudEventsClient, 'post' | 'abort'>,
    private readonly url: string,
    leases: Leases,
    routing: PublishRouting,
    private readonly journal: Journal,
    private readonly logger: MeshLogger,
  ) {
    this.queues = new PartitionQueues(() => leases.held(OUTBOX_RESOURCE), routing.routeOf);
    this.health = new BrokerHealth(url, logger);
    this.schedule = new PublishSchedule(this.queues, this.health, this.bulkheads, () => {
      this.sendReady();
      this.wake();
    });
    this.loader = new OutboxLoader(work, leases, routing, this.queues, logger, () => this.sendReady());
    this.acknowledgements = new Acknowledgements(work, logger, (seqs) => {
      this.queues.messages.removed(seqs);
      this.loader.replenish();
    });
  }

  /** Messages that wait for an unavailable broker, or for consumers behind the broker, don't count. */
  get isBusy(): boolean {
    const { hasReady } = this.schedule;
    const isSending = this.sending !== undefined || this.bulkheads.freshCount > 0;
    return this.loader.isBusy || isSending || this.acknowledgements.isBusy || hasReady;
  }

  /** Messages that wait for the broker, or for consumers behind it, don't count. */
  get backlogAgeMs(): number {
    const { refused, unreachable, waiting } = this.brokerState;
    const isWorking = !refused && !unreachable && waiting.requests === 0;
    return this.loader.hasMore && isWorking ? Date.now() - this.loader.lastWrittenAt : 0;
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
    this.loader.start();
  }

  async stop(deadline: number): Promise<void> {
    this.isStopped = true;
    this.loader.stop();
    this.schedule.cancel();
    const abort = () => {
      this.isAborted = true;
      void this.client.abort();
    };
    const late = setTimeout(abort, Math.max(0, deadline - performance.now()));
    while (this.loader.isBusy || this.bulkheads.openCount > 0) await wait(5);
    clearTimeout(late);
    await this.acknowledgements.flush();
    await this.client.abort();
  }

  wake(): void {
    this.loader.wake();
  }

  /** Sends what may be sent now, and reads the outbox while the broker handles it. */
  private sendReady(): void {
    for (let partition; !this.isStopped && (partition = this.schedule.next());) void this.send(partition);
    this.loader.replenish();
  }

  /**
   * Sends once for all answers of one turn of the event loop, after the last of them: undici frees a connection at the end of
   * the turn, and would open another one for a request that came before.
   */
  private sendSoon(): void {
    clearImmediate(this.sending);
    this.sending = setImmediate(() => {
      this.sending = undefined;
      this.sendReady();
    });
  }

  /** One attempt for the first message of a queue, and then what may be sent in its place; never throws. */
  private async send(partition: PartitionQueue): Promise<void> {
    const message = partition.messages[0]!;
    const request = this.bulkheads.start(message.group, message.type);
    try {
      const event = message.event ?? (await this.loader.reload(partition, message));
      if (!event) return;
      // Reading the event again may have taken a while.
      if (this.isStopped || !this.queues.isOurs(partition)) return this.queues.unload(partition);
      message.attempts++;
      const began = Date.now();
      const post = () => publish(this.client, this.url, event, () => this.health.isFaultOfMessage(message));
      const outcome = await PUBLISHING.run({ event }, post, ({ kind }) => kind);
      if (outcome.kind === 'accepted') this.accepted(partition, event, began);
      else await runInContext(requestContextOf(event), () => this.failed(partition, event, outcome));
    } finally {
      this.bulkheads.end(request);
      this.sendSoon();
    }
  }

  private accepted(partition: PartitionQueue, event: CloudEvent, began: number): void {
    if (this.health.succeeded()) this.queues.retryNow();
    this.acknowledgements.add(partition.messages[0]!.seq);
    this.advance(partition);
    if (!MeshLogger.logsMessages) return;
    const times = { lagMs: began - Date.parse(event.time ?? ''), ms: Date.now() - began };
    runInContext(requestContextOf(event), () => this.logger.message({ ...factsOf(event), ...times }, 'published'));
  }

  private async failed(partition: PartitionQueue, event: CloudEvent, failure: FailedPublishing): Promise<void> {
    if (failure.kind === 'dead') await this.deadLetter(partition, event, failure.error);
    else if (!this.isAborted) this.retryLater(partition, event, failure);
  }

  private advance(partition: PartitionQueue): void {
    if (this.queues.advance(partition)) this.loader.hasMore = true;
  }

  private retryLater(partition: PartitionQueue, event: CloudEvent, failure: FailedAttempt): void {
    const { attempts } = partition.messages[0]!;
    this.health.failed(event.id, failure, { ...factsOf(event), attempts, err: failure.error });
    const notBefore = performance.now() + Math.max(pauseMs(attempts), failure.retryAfterMs);
    if (this.queues.retryLater(partition, notBefore)) this.loader.hasMore = true;
  }

  private async deadLetter(partition: PartitionQueue, event: CloudEvent, error: Error): Promise<void> {
    const { seq, attempts } = partition.messages[0]!;
    try {
      await deadLetterUnpublished(this.work, this.journal, { seq, event, attempts, error });
    } catch (unrecorded) {
      this.logger.warn({ ...factsOf(event), err: unrecorded }, 'A dead letter could not be stored: trying again');
      this.queues.retryLater(partition, performance.now() + DATABASE_PAUSE_MS);
      return;
    }
    this.logger.error({ ...factsOf(event), attempts, err: error }, 'The broker refuses the event: now a dead letter');
    this.advance(partition);
    this.queues.messages.removed([seq]);
  }
}

function factsOf({ id, type, subject }: CloudEvent) {
  return { type, subject, event: id };
}
