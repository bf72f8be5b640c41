import type { CloudEvent } from '../cloudevents/cloud-event.js';
import type { SqlValue } from '../persistence/sql.js';
import type { HeldShards } from '../store/lease-rows.js';
import type { OutboxRow } from '../store/outbox-rows.js';
import type { Rejection } from './broker-health.js';

/** Messages in memory, at most. Failing ones keep only their sequence number, and count when they are all there is. */
const MAX_LOADED = 2000;
/** Events in memory, at most, in characters of JSON: about. */
const MAX_LOADED_CHARACTERS = 16_000_000;
/** The first load, before the size of the messages is known. */
const FIRST_LOAD = 16;

/** A message that waits to be published. */
export interface PublishedMessage extends Rejection {
  readonly seq: SqlValue;
  /** Undefined while the message waits for a retry: it is read again. */
  event: CloudEvent | undefined;
  attempts: number;
}

/** The loaded messages of one partition key, in their order. Only the first may be in flight. */
export interface PartitionQueue {
  readonly key: string;
  /** The lease under which the messages were loaded, where replicas share the work. */
  readonly shard?: number;
  readonly token?: number;
  readonly messages: PublishedMessage[];
  /** Nothing is sent before this time, on the clock of `performance.now()`. */
  notBefore: number;
  isFailing: boolean;
}

/** The part of the outbox that the publisher has in memory: one queue for each partition key. */
export class PartitionQueues {
  /** How often messages were unloaded: a query that ran meanwhile has missed them. */
  unloads = 0;
  private readonly partitions = new Map<string, PartitionQueue>();
  /** The queues whose first message isn't in flight. */
  private waiting: PartitionQueue[] = [];
  private readonly seqs = new Set<SqlValue>();
  private window = FIRST_LOAD;
  private failingCount = 0;

  /** @param held the shards that this process publishes now */
  constructor(private readonly held: () => HeldShards) {}

  /** Sequence numbers of the loaded messages, those included that the broker has accepted and the outbox still holds. */
  get loaded(): SqlValue[] {
    return [...this.seqs];
  }

  /** Partition keys of which only the first message is loaded, because it fails. */
  get failingKeys(): string[] {
    return [...this.partitions.values()].filter(({ isFailing }) => isFailing).map(({ key }) => key);
  }

  /** How many more messages may be loaded. */
  get room(): number {
    return Math.min(MAX_LOADED - this.seqs.size, this.window - this.seqs.size + this.failingCount);
  }

  /** Whether so few messages are loaded that the outbox should be read again. */
  get isHalfEmpty(): boolean {
    return this.room > Math.min(this.window, MAX_LOADED - this.failingCount) / 2;
  }

  /** Requests that large messages allow at a time. */
  get maxInFlight(): number {
    return this.window;
  }

  get hasFresh(): boolean {
    return this.waiting.some(({ isFailing }) => !isFailing);
  }

  get isEmpty(): boolean {
    return this.waiting.length === 0;
  }

  /** Adds the messages of a query, with the leases that were held when it began. */
  add(rows: readonly (OutboxRow & { shard?: number })[], tokens: HeldShards): void {
    for (const { seq, partition_key: key, event, shard } of rows) {
      this.seqs.add(seq);
      const message = { seq, event: JSON.parse(event) as CloudEvent, attempts: 0 };
      const partition = this.partitions.get(key);
      if (partition) {
        partition.messages.push(message);
        continue;
      }
      const lease = shard === undefined ? {} : { shard, token: tokens?.get(shard) };
      const opened: PartitionQueue = { key, ...lease, messages: [message], notBefore: 0, isFailing: false };
      this.partitions.set(key, opened);
      this.waiting.push(opened);
    }
    this.adjustWindow(rows);
  }

  /** Whether this process still holds the lease under which the messages were loaded. */
  isOurs({ shard, token }: PartitionQueue): boolean {
    return shard === undefined || this.held()?.get(shard) === token;
  }

  /** Unloads the messages whose lease is lost. */
  unloadLost(): void {
    for (const partition of this.waiting.filter((it) => !this.isOurs(it))) this.unload(partition);
    this.waiting = this.waiting.filter((it) => this.isOurs(it));
  }

  /** Forgets a queue that was taken: its messages stay in the outbox. */
  unload(partition: PartitionQueue): void {
    for (const { seq } of partition.messages) this.seqs.delete(seq);
    this.setFailing(partition, false);
    this.partitions.delete(partition.key);
    this.unloads++;
  }

  /** Takes the first queue that may send at `now`. @param prefersFresh prefer one that hasn't failed */
  take(now: number, prefersFresh: boolean): PartitionQueue | undefined {
    const isReady = ({ notBefore }: PartitionQueue) => notBefore <= now;
    const fresh = prefersFresh ? this.waiting.findIndex((it) => !it.isFailing && isReady(it)) : -1;
    const index = fresh < 0 ? this.waiting.findIndex(isReady) : fresh;
    return index < 0 ? undefined : this.waiting.splice(index, 1)[0];
  }

  /** When the next queue may send, on the clock of `performance.now()`. */
  get nextReadyAt(): number {
    return Math.min(...this.waiting.map(({ notBefore }) => notBefore));
  }

  /** The broker works again: nothing waits any longer. */
  retryNow(): void {
    for (const partition of this.waiting) partition.notBefore = 0;
  }

  /** Puts a queue back whose first message failed. The rest of the key is unloaded, so that it takes no room. */
  retryLater(partition: PartitionQueue, notBefore: number): void {
    partition.notBefore = notBefore;
    this.setFailing(partition, true);
    partition.messages[0]!.event = undefined;
    for (const { seq } of partition.messages.splice(1)) this.seqs.delete(seq);
    this.unloads++;
    this.waiting.push(partition);
  }

  /** Puts a queue back as it was, to send at `notBefore`. */
  putBack(partition: PartitionQueue, notBefore: number): void {
    partition.notBefore = notBefore;
    this.waiting.push(partition);
  }

  /** Drops the first message, which has left. @returns whether the outbox may hold more messages of the key */
  advance(partition: PartitionQueue): boolean {
    partition.messages.shift();
    const { isFailing } = partition;
    this.setFailing(partition, false);
    partition.notBefore = 0;
    if (partition.messages.length > 0) this.waiting.push(partition);
    else this.partitions.delete(partition.key);
    return isFailing;
  }

  /** The outbox no longer holds these messages. */
  removed(seqs: readonly SqlValue[]): void {
    for (const seq of seqs) this.seqs.delete(seq);
  }

  private setFailing(partition: PartitionQueue, isFailing: boolean): void {
    this.failingCount += Number(isFailing) - Number(partition.isFailing);
    partition.isFailing = isFailing;
  }

  /** Loads fewer messages at a time when they are large. */
  private adjustWindow(rows: readonly OutboxRow[]): void {
    if (rows.length === 0) return;
    const characters = rows.reduce((sum, { event }) => sum + event.length, 0);
    this.window = Math.max(1, Math.min(MAX_LOADED, Math.floor((MAX_LOADED_CHARACTERS * rows.length) / characters)));
  }
}
