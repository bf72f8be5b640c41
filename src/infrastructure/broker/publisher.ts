import { AsyncLocalStorage } from 'node:async_hooks';
import { setTimeout as wait } from 'node:timers/promises';
import type { Logger } from '@nestjs/common';
import { runInContext } from '../observability/request-context.js';
import type { SqlValue } from '../persistence/sql.js';
import type { UnitOfWork } from '../persistence/unit-of-work.js';
import { BrokerHealth, pauseMs, type Rejection } from './broker-health.js';
import { MalformedEvent } from '../cloudevents/attributes.js';
import { requestContextOf, type CloudEvent } from '../cloudevents/cloud-event.js';
import { MESSAGE_UNIT, DATABASE_PAUSE_MS } from '../delivery/delivery-worker.js';
import { insertDeadLetter, UNPUBLISHED } from '../store/dead-letter-rows.js';
import { outboxEvent, outboxRows, removeFromOutbox, type OutboxRow } from '../store/delivery-rows.js';
import { OUTBOX_RESOURCE, type Leases } from '../leases/leases.js';
import type { OutboxDispatcher } from '../outbox/relay.js';
import { Acknowledgements } from './acknowledgements.js';
import { isSuccess, type ClientResponse, type CloudEventsClient } from './cloudevents-client.js';

/**
 * Messages that are loaded at the same time: so many, and no more of them than make about so many characters. Of those that
 * fail nothing but the place in the outbox stays in memory, and they take no room from the others before they are all.
 */
const MAX_LOADED = 2000;
const MAX_LOADED_CHARACTERS = 16_000_000;
/** Where nothing is known of their size yet. */
const FIRST_LOAD = 16;
/** Requests that may be under way. */
const MAX_IN_FLIGHT = 64;
/** The longest `Retry-After` that is honoured, in ms. */
const MAX_RETRY_AFTER_MS = 60_000;

interface Message extends Rejection {
  readonly seq: SqlValue;
  /** Undefined while it waits to be tried again. */
  event: CloudEvent | undefined;
  tries: number;
}

/** The messages of one partition key, in their order; the first of them is under way, or waits to be. */
interface PartitionQueue {
  readonly key: string;
  /** Under which its messages were loaded, where the work is shared. */
  readonly shard?: number;
  readonly token?: number;
  readonly messages: Message[];
  /** Not before this time, on the clock of `performance.now()`. */
  notBefore: number;
  failing: boolean;
}

/**
 * The way out of the outbox to a broker. The outbox is the record: what isn't accepted stays there and is sent again for
 * as long as it takes, with the id that it always had. Strict within a partition key: the next message of a key leaves
 * after the one before has been accepted. A message that was accepted when the process died is sent again; its
 * consumers' inboxes know it.
 */
export class Publisher implements OutboxDispatcher {
  private readonly outside = AsyncLocalStorage.snapshot();
  private readonly partitions = new Map<string, PartitionQueue>();
  /** Lanes whose first message waits for its turn. */
  private queue: PartitionQueue[] = [];
  private readonly loaded = new Set<SqlValue>();
  private window = FIRST_LOAD;
  /** How many partitions are: counted, as it is asked for with every message. */
  private failing = 0;
  private unloads = 0;
  private isAborted = false;
  private inFlight = 0;
  /** Taken while the broker was out of order. */
  private turns = 0;
  private readonly health: BrokerHealth;
  private readonly acknowledgements: Acknowledgements;
  private timer?: NodeJS.Timeout;
  private isLoading = false;
  private wanted = false;
  private more = false;
  private stopped = true;

  /** @param leases the keys that this process publishes of those in this database */
  constructor(
    private readonly work: UnitOfWork,
    private readonly client: Pick<CloudEventsClient, 'post' | 'abort'>,
    private readonly url: string,
    private readonly leases: Leases,
    private readonly logger: Logger,
  ) {
    this.health = new BrokerHealth(url, logger);
    this.acknowledgements = new Acknowledgements(work, logger, (seqs) => {
      for (const seq of seqs) this.loaded.delete(seq);
      this.replenish();
    });
  }

  /** What is put off until the broker is well again doesn't count. */
  get isBusy(): boolean {
    const isReady = !this.health.isUnavailable && this.queue.some(({ failing }) => !failing);
    return this.isLoading || this.inFlight > 0 || this.acknowledgements.busy || isReady;
  }

  get suspendedReason(): string | undefined {
    return this.health.suspendedReason;
  }

  start(): void {
    this.stopped = this.isAborted = false;
    this.wake();
  }

  async stop(deadline: number): Promise<void> {
    this.stopped = true;
    clearTimeout(this.timer);
    const cut = () => {
      this.isAborted = true;
      void this.client.abort();
    };
    const late = setTimeout(cut, Math.max(0, deadline - performance.now()));
    while (this.isLoading || this.inFlight > 0) await wait(5);
    clearTimeout(late);
    await this.acknowledgements.flush();
  }

  wake(): void {
    this.wanted = true;
    if (this.isLoading || this.stopped) return;
    this.isLoading = true;
    // Outside: the loop belongs to nobody's request, though somebody's commit has woken it.
    void this.outside(() => this.loadOutbox());
  }

  /** Loads what the outbox holds, as far as there is room. */
  private async loadOutbox(): Promise<void> {
    try {
      while (this.wanted && !this.stopped && this.room > 0) {
        this.wanted = false;
        this.unload(this.queue.filter((partition) => !this.isOurs(partition)));
        this.queue = this.queue.filter((partition) => this.isOurs(partition));
        // The rest of a failing key stays where it is, so that it can't take the places of others.
        const failing = [...this.partitions.values()].filter((partition) => partition.failing).map(({ key }) => key);
        const { room, unloads } = this;
        const tokens = this.leases.held(OUTBOX_RESOURCE);
        const rows = await outboxRows(this.work.sql, [...this.loaded], failing, room, this.leases);
        // A key has begun to fail meanwhile: what was left out of this look comes before some of what it has found.
        if (unloads !== this.unloads) {
          this.wanted = true;
          continue;
        }
        for (const { seq, partition_key: key, event, shard } of rows) {
          this.loaded.add(seq);
          const message = { seq, event: JSON.parse(event) as CloudEvent, tries: 0 };
          this.enqueue(message, { key, ...(shard !== undefined && { shard, token: tokens?.get(shard) }) });
        }
        this.more = rows.length === room;
        this.adjustWindow(rows);
        this.sendReady();
        this.replenish();
      }
    } catch (error) {
      this.logger.warn({ err: error }, 'The outbox could not be read; trying again');
      this.wakeIn(DATABASE_PAUSE_MS);
    } finally {
      this.isLoading = false;
    }
  }

  /** For so many more messages. */
  private get room(): number {
    return Math.min(MAX_LOADED - this.loaded.size, this.window - this.loaded.size + this.failing);
  }

  /** Large messages leave in smaller numbers: a backlog of them must not fill the memory. */
  private adjustWindow(rows: readonly OutboxRow[]): void {
    if (rows.length === 0) return;
    const characters = rows.reduce((sum, { event }) => sum + event.length, 0);
    this.window = Math.max(1, Math.min(MAX_LOADED, Math.floor((MAX_LOADED_CHARACTERS * rows.length) / characters)));
  }

  private enqueue(message: Message, of: Pick<PartitionQueue, 'key' | 'shard' | 'token'>): void {
    const partition = this.partitions.get(of.key);
    if (partition) return void partition.messages.push(message);
    const opened = { ...of, messages: [message], notBefore: 0, failing: false };
    this.partitions.set(of.key, opened);
    this.queue.push(opened);
  }

  private isOurs({ shard, token }: PartitionQueue): boolean {
    return shard === undefined || this.leases.held(OUTBOX_RESOURCE)?.get(shard) === token;
  }

  /** Forgets what is another process's business by now. */
  private unload(partitions: readonly PartitionQueue[]): void {
    for (const partition of partitions) {
      for (const { seq } of partition.messages) this.loaded.delete(seq);
      this.mark(partition, false);
      this.partitions.delete(partition.key);
      this.unloads++;
    }
  }

  private mark(partition: PartitionQueue, failing: boolean): void {
    this.failing += Number(failing) - Number(partition.failing);
    partition.failing = failing;
  }

  /** Sends what may be sent now. */
  private sendReady(): void {
    while (!this.stopped && this.queue.length > 0) {
      const places = this.health.isUnavailable ? 1 : Math.min(MAX_IN_FLIGHT, this.window);
      if (this.inFlight >= places) return;
      const now = performance.now();
      const index = this.next(now);
      if (index < 0) {
        const next = Math.min(...this.queue.map(({ notBefore }) => notBefore));
        return this.wakeIn(Math.max(this.health.pausedUntil, next) - now);
      }
      const [partition] = this.queue.splice(index, 1);
      if (!this.isOurs(partition!)) {
        this.unload([partition!]);
        continue;
      }
      this.inFlight++;
      void this.send(partition!).then(() => {
        this.inFlight--;
        this.sendReady();
      });
    }
  }

  /** @returns whose turn it is in the queue, -1 when it is nobody's */
  private next(now: number): number {
    if (this.health.pausedUntil > now) return -1;
    const isReady = ({ notBefore }: PartitionQueue) => notBefore <= now;
    // What has not failed yet tells more of a broker that is out of order; every other turn is for what has.
    const isForFresh = this.health.isUnavailable && this.turns++ % 2 === 0;
    const fresh = isForFresh ? this.queue.findIndex((partition) => !partition.failing && isReady(partition)) : -1;
    return fresh < 0 ? this.queue.findIndex(isReady) : fresh;
  }

  /** One try of the first message of a partition; it never throws. */
  private async send(partition: PartitionQueue): Promise<void> {
    const message = partition.messages[0]!;
    const event = message.event ?? (await this.reload(partition, message));
    if (!event) return;
    // Reading it may have taken a while.
    if (this.stopped || !this.isOurs(partition)) return this.unload([partition]);
    message.tries++;
    const began = Date.now();
    let answer: ClientResponse;
    try {
      answer = await this.client.post(this.url, event);
    } catch (error) {
      // Some stored events can't be written as HTTP: no broker will ever see them.
      const isHopeless = error instanceof MalformedEvent;
      return runInContext(requestContextOf(event), () =>
        isHopeless ? this.deadLetter(partition, message, event, error) : this.failed(partition, message, event, error),
      );
    }
    if (!isSuccess(answer.status))
      return runInContext(requestContextOf(event), () => this.refused(partition, message, event, answer));
    this.accepted(partition, message);
    const facts = { type: event.type, subject: event.subject, event: event.id };
    const times = { lagMs: began - Date.parse(event.time ?? ''), ms: Date.now() - began };
    runInContext(requestContextOf(event), () => this.logger.log({ ...facts, ...times }, 'published'));
  }

  /** What has failed is read anew. @returns undefined when it is to be left alone for now, or for good */
  private async reload(partition: PartitionQueue, { seq }: Message): Promise<CloudEvent | undefined> {
    try {
      const event = await outboxEvent(this.work.sql, seq);
      if (event !== undefined) return JSON.parse(event) as CloudEvent;
      // Another process has sent it, or it was given up.
      this.unload([partition]);
      this.wake();
    } catch (error) {
      this.logger.warn({ err: error }, 'The outbox could not be read; trying again');
      partition.notBefore = performance.now() + DATABASE_PAUSE_MS;
      this.queue.push(partition);
    }
    return undefined;
  }

  private accepted(partition: PartitionQueue, { seq }: Message): void {
    if (this.health.succeeded()) for (const waiting of this.queue) waiting.notBefore = 0;
    this.acknowledgements.add(seq);
    this.advance(partition);
  }

  /** The first message of a partition has left; the next one's turn. */
  private advance(partition: PartitionQueue): void {
    partition.messages.shift();
    // Only its first message was loaded while it failed.
    if (partition.failing) this.more = true;
    this.mark(partition, false);
    partition.notBefore = 0;
    if (partition.messages.length > 0) this.queue.push(partition);
    else this.partitions.delete(partition.key);
    this.replenish();
  }

  private replenish(): void {
    const most = Math.min(this.window, MAX_LOADED - this.failing);
    if ((this.more || this.wanted) && this.room > most / 2) this.wake();
  }

  /** An answer that isn't a success. */
  private async refused(
    partition: PartitionQueue,
    message: Message,
    event: CloudEvent,
    answer: ClientResponse,
  ): Promise<void> {
    const { status, retryAfterMs = 0, body } = answer;
    const error = new Error(`The broker answered ${status}${body ? `: ${body.slice(0, 200)}` : ''}`);
    // The broker may not exist yet, may not know us yet, has too much to do, or is out of order.
    const isTransient = status >= 500 || [401, 403, 404, 408, 409, 425, 429].includes(status);
    // Too large, not a media type, not processable: that is the message, and it won't get better.
    const isFinal =
      [413, 415, 422].includes(status) || (!isTransient && this.health.isFaultOfMessage(event.id, message));
    if (isFinal) await this.deadLetter(partition, message, event, error);
    else this.failed(partition, message, event, error, retryAfterMs);
  }

  private failed(
    partition: PartitionQueue,
    message: Message,
    { id, type, subject }: CloudEvent,
    error: unknown,
    askedMs = 0,
  ): void {
    if (this.isAborted) return;
    const patienceMs = Math.min(askedMs, MAX_RETRY_AFTER_MS);
    this.health.failed(patienceMs, { event: id, type, subject, tries: message.tries, err: error });
    partition.notBefore = performance.now() + Math.max(pauseMs(message.tries), patienceMs);
    this.mark(partition, true);
    message.event = undefined;
    for (const { seq } of partition.messages.splice(1)) this.loaded.delete(seq);
    this.unloads++;
    this.queue.push(partition);
  }

  private async deadLetter(
    partition: PartitionQueue,
    message: Message,
    event: CloudEvent,
    error: Error,
  ): Promise<void> {
    const { seq, tries } = message;
    const facts = { type: event.type, subject: event.subject, event: event.id, tries, err: error };
    try {
      await this.work.run(async () => {
        if ((await removeFromOutbox(this.work.sql, [seq])) > 0)
          await insertDeadLetter(this.work.sql, { event, attempts: tries, error, consumer: UNPUBLISHED });
      }, MESSAGE_UNIT);
    } catch (unrecorded) {
      return this.failed(partition, message, event, unrecorded);
    }
    this.loaded.delete(seq);
    this.logger.error(facts, 'The broker refuses it: now among the dead letters');
    this.advance(partition);
  }

  private wakeIn(ms: number): void {
    clearTimeout(this.timer);
    if (this.stopped) return;
    const ring = () => {
      this.sendReady();
      this.wake();
    };
    this.timer = setTimeout(ring, Math.max(1, ms));
  }
}
