import { AsyncLocalStorage } from 'node:async_hooks';
import { setTimeout as wait } from 'node:timers/promises';
import type { Logger } from '@nestjs/common';
import { onJourney } from '../observability/request-context.js';
import type { SqlValue } from '../persistence/sql.js';
import type { UnitOfWork } from '../persistence/unit-of-work.js';
import { BrokerHealth, pauseMs, type Blame } from './broker-health.js';
import { MalformedEvent } from '../cloudevents/attributes.js';
import { journeyOf, type CloudEvent } from '../cloudevents/cloud-event.js';
import { MESSAGE, PAUSE_MS } from '../delivery/delivery-worker.js';
import { bury, UNPUBLISHED } from '../store/dead-letter-rows.js';
import { outboxEvent, outboxRows, removeFromOutbox, type OutboxRow } from '../store/deliveries.js';
import { OUTBOX, type Leases } from '../leases/leases.js';
import type { WayOut } from '../outbox/relay.js';
import { Removals } from './acknowledgements.js';
import { isSuccess, type Answer, type Sink } from './cloudevents-client.js';

/**
 * Messages that are loaded at the same time: so many, and no more of them than make about so many characters. Of those that
 * fail nothing but the place in the outbox stays in memory, and they take no room from the others before they are all.
 */
const WINDOW = 2000;
const CHARACTERS = 16_000_000;
/** Where nothing is known of their size yet. */
const FIRST = 16;
/** Requests that may be under way. */
const UNDER_WAY = 64;
/** The longest `Retry-After` that is honoured, in ms. */
const LONGEST_RETRY_AFTER_MS = 60_000;

interface Message extends Blame {
  readonly seq: SqlValue;
  /** Undefined while it waits to be tried again. */
  event: CloudEvent | undefined;
  tries: number;
}

/** The messages of one partition key, in their order; the first of them is under way, or waits to be. */
interface Lane {
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
export class Publisher implements WayOut {
  private readonly outside = AsyncLocalStorage.snapshot();
  private readonly lanes = new Map<string, Lane>();
  /** Lanes whose first message waits for its turn. */
  private queue: Lane[] = [];
  private readonly loaded = new Set<SqlValue>();
  private window = FIRST;
  /** How many lanes are: counted, as it is asked for with every message. */
  private failing = 0;
  private unloads = 0;
  private isCut = false;
  private underWay = 0;
  /** Taken while the broker was out of order. */
  private turns = 0;
  private readonly health: BrokerHealth;
  private readonly removals: Removals;
  private timer?: NodeJS.Timeout;
  private looking = false;
  private wanted = false;
  private more = false;
  private stopped = true;

  /** @param leases the keys that this process publishes of those in this database */
  constructor(
    private readonly work: UnitOfWork,
    private readonly sink: Pick<Sink, 'post' | 'cut'>,
    private readonly url: string,
    private readonly leases: Leases,
    private readonly logger: Logger,
  ) {
    this.health = new BrokerHealth(url, logger);
    this.removals = new Removals(work, logger, (seqs) => {
      for (const seq of seqs) this.loaded.delete(seq);
      this.replenish();
    });
  }

  /** What is put off until the broker is well again doesn't count. */
  get busy(): boolean {
    const isReady = !this.health.isOutOfOrder && this.queue.some(({ failing }) => !failing);
    return this.looking || this.underWay > 0 || this.removals.busy || isReady;
  }

  get suspended(): string | undefined {
    return this.health.suspicion;
  }

  start(): void {
    this.stopped = this.isCut = false;
    this.wake();
  }

  async stop(deadline: number): Promise<void> {
    this.stopped = true;
    clearTimeout(this.timer);
    const cut = () => {
      this.isCut = true;
      void this.sink.cut();
    };
    const late = setTimeout(cut, Math.max(0, deadline - performance.now()));
    while (this.looking || this.underWay > 0) await wait(5);
    clearTimeout(late);
    await this.removals.flush();
  }

  wake(): void {
    this.wanted = true;
    if (this.looking || this.stopped) return;
    this.looking = true;
    // Outside: the loop belongs to nobody's request, though somebody's commit has woken it.
    void this.outside(() => this.look());
  }

  /** Loads what the outbox holds, as far as there is room. */
  private async look(): Promise<void> {
    try {
      while (this.wanted && !this.stopped && this.room > 0) {
        this.wanted = false;
        this.letGo(this.queue.filter((lane) => !this.isOurs(lane)));
        this.queue = this.queue.filter((lane) => this.isOurs(lane));
        // The rest of a failing key stays where it is, so that it can't take the places of others.
        const failing = [...this.lanes.values()].filter((lane) => lane.failing).map(({ key }) => key);
        const { room, unloads } = this;
        const tokens = this.leases.held(OUTBOX);
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
        this.measure(rows);
        this.pump();
        this.replenish();
      }
    } catch (error) {
      this.logger.warn({ err: error }, 'The outbox could not be read; trying again');
      this.wakeIn(PAUSE_MS);
    } finally {
      this.looking = false;
    }
  }

  /** For so many more messages. */
  private get room(): number {
    return Math.min(WINDOW - this.loaded.size, this.window - this.loaded.size + this.failing);
  }

  /** Large messages leave in smaller numbers: a backlog of them must not fill the memory. */
  private measure(rows: readonly OutboxRow[]): void {
    if (rows.length === 0) return;
    const characters = rows.reduce((sum, { event }) => sum + event.length, 0);
    this.window = Math.max(1, Math.min(WINDOW, Math.floor((CHARACTERS * rows.length) / characters)));
  }

  private enqueue(message: Message, of: Pick<Lane, 'key' | 'shard' | 'token'>): void {
    const lane = this.lanes.get(of.key);
    if (lane) return void lane.messages.push(message);
    const opened = { ...of, messages: [message], notBefore: 0, failing: false };
    this.lanes.set(of.key, opened);
    this.queue.push(opened);
  }

  private isOurs({ shard, token }: Lane): boolean {
    return shard === undefined || this.leases.held(OUTBOX)?.get(shard) === token;
  }

  /** Forgets what is another process's business by now. */
  private letGo(lanes: readonly Lane[]): void {
    for (const lane of lanes) {
      for (const { seq } of lane.messages) this.loaded.delete(seq);
      this.mark(lane, false);
      this.lanes.delete(lane.key);
      this.unloads++;
    }
  }

  private mark(lane: Lane, failing: boolean): void {
    this.failing += Number(failing) - Number(lane.failing);
    lane.failing = failing;
  }

  /** Sends what may be sent now. */
  private pump(): void {
    while (!this.stopped && this.queue.length > 0) {
      const places = this.health.isOutOfOrder ? 1 : Math.min(UNDER_WAY, this.window);
      if (this.underWay >= places) return;
      const now = performance.now();
      const index = this.next(now);
      if (index < 0) {
        const next = Math.min(...this.queue.map(({ notBefore }) => notBefore));
        return this.wakeIn(Math.max(this.health.pausedUntil, next) - now);
      }
      const [lane] = this.queue.splice(index, 1);
      if (!this.isOurs(lane!)) {
        this.letGo([lane!]);
        continue;
      }
      this.underWay++;
      void this.send(lane!).then(() => {
        this.underWay--;
        this.pump();
      });
    }
  }

  /** @returns whose turn it is in the queue, -1 when it is nobody's */
  private next(now: number): number {
    if (this.health.pausedUntil > now) return -1;
    const isReady = ({ notBefore }: Lane) => notBefore <= now;
    // What has not failed yet tells more of a broker that is out of order; every other turn is for what has.
    const isForFresh = this.health.isOutOfOrder && this.turns++ % 2 === 0;
    const fresh = isForFresh ? this.queue.findIndex((lane) => !lane.failing && isReady(lane)) : -1;
    return fresh < 0 ? this.queue.findIndex(isReady) : fresh;
  }

  /** One try of the first message of a lane; it never throws. */
  private async send(lane: Lane): Promise<void> {
    const message = lane.messages[0]!;
    const event = message.event ?? (await this.again(lane, message));
    if (!event) return;
    // Reading it may have taken a while.
    if (this.stopped || !this.isOurs(lane)) return this.letGo([lane]);
    message.tries++;
    const began = Date.now();
    let answer: Answer;
    try {
      answer = await this.sink.post(this.url, event);
    } catch (error) {
      // Some stored events can't be written as HTTP: no broker will ever see them.
      const isHopeless = error instanceof MalformedEvent;
      return onJourney(journeyOf(event), () =>
        isHopeless ? this.giveUp(lane, message, event, error) : this.failed(lane, message, event, error),
      );
    }
    if (!isSuccess(answer.status)) return onJourney(journeyOf(event), () => this.refused(lane, message, event, answer));
    this.took(lane, message);
    const facts = { type: event.type, subject: event.subject, event: event.id };
    const times = { lagMs: began - Date.parse(event.time ?? ''), ms: Date.now() - began };
    onJourney(journeyOf(event), () => this.logger.log({ ...facts, ...times }, 'published'));
  }

  /** What has failed is read anew. @returns undefined when it is to be left alone for now, or for good */
  private async again(lane: Lane, { seq }: Message): Promise<CloudEvent | undefined> {
    try {
      const event = await outboxEvent(this.work.sql, seq);
      if (event !== undefined) return JSON.parse(event) as CloudEvent;
      // Another process has sent it, or it was given up.
      this.letGo([lane]);
      this.wake();
    } catch (error) {
      this.logger.warn({ err: error }, 'The outbox could not be read; trying again');
      lane.notBefore = performance.now() + PAUSE_MS;
      this.queue.push(lane);
    }
    return undefined;
  }

  private took(lane: Lane, { seq }: Message): void {
    if (this.health.succeeded()) for (const waiting of this.queue) waiting.notBefore = 0;
    this.removals.add(seq);
    this.proceed(lane);
  }

  /** The first message of a lane has left; the next one's turn. */
  private proceed(lane: Lane): void {
    lane.messages.shift();
    // Only its first message was loaded while it failed.
    if (lane.failing) this.more = true;
    this.mark(lane, false);
    lane.notBefore = 0;
    if (lane.messages.length > 0) this.queue.push(lane);
    else this.lanes.delete(lane.key);
    this.replenish();
  }

  private replenish(): void {
    const most = Math.min(this.window, WINDOW - this.failing);
    if ((this.more || this.wanted) && this.room > most / 2) this.wake();
  }

  /** An answer that isn't a success. */
  private async refused(lane: Lane, message: Message, event: CloudEvent, answer: Answer): Promise<void> {
    const { status, retryAfterMs = 0, body } = answer;
    const error = new Error(`The broker answered ${status}${body ? `: ${body.slice(0, 200)}` : ''}`);
    // The broker may not exist yet, may not know us yet, has too much to do, or is out of order.
    const isTransient = status >= 500 || [401, 403, 404, 408, 409, 425, 429].includes(status);
    // Too large, not a media type, not processable: that is the message, and it won't get better.
    const isFinal = [413, 415, 422].includes(status) || (!isTransient && this.health.blames(event.id, message));
    if (isFinal) await this.giveUp(lane, message, event, error);
    else this.failed(lane, message, event, error, retryAfterMs);
  }

  private failed(lane: Lane, message: Message, { id, type, subject }: CloudEvent, error: unknown, askedMs = 0): void {
    if (this.isCut) return;
    const patienceMs = Math.min(askedMs, LONGEST_RETRY_AFTER_MS);
    this.health.failed(patienceMs, { event: id, type, subject, tries: message.tries, err: error });
    lane.notBefore = performance.now() + Math.max(pauseMs(message.tries), patienceMs);
    this.mark(lane, true);
    message.event = undefined;
    for (const { seq } of lane.messages.splice(1)) this.loaded.delete(seq);
    this.unloads++;
    this.queue.push(lane);
  }

  private async giveUp(lane: Lane, message: Message, event: CloudEvent, error: Error): Promise<void> {
    const { seq, tries } = message;
    const facts = { type: event.type, subject: event.subject, event: event.id, tries, err: error };
    try {
      await this.work.run(async () => {
        if ((await removeFromOutbox(this.work.sql, [seq])) > 0)
          await bury(this.work.sql, { event, attempts: tries, error, consumer: UNPUBLISHED });
      }, MESSAGE);
    } catch (unrecorded) {
      return this.failed(lane, message, event, unrecorded);
    }
    this.loaded.delete(seq);
    this.logger.error(facts, 'The broker refuses it: now among the dead letters');
    this.proceed(lane);
  }

  private wakeIn(ms: number): void {
    clearTimeout(this.timer);
    if (this.stopped) return;
    const ring = () => {
      this.pump();
      this.wake();
    };
    this.timer = setTimeout(ring, Math.max(1, ms));
  }
}
