import type { CloudEvent } from '../cloudevents/cloud-event.js';
import type { HeldShards } from '../store/lease-rows.js';
import type { OutboxQuery, OutboxRow } from '../store/outbox-rows.js';
import { queueName } from '../store/outbox-routes.js';
import { LoadLimits } from './load-limits.js';
import { LoadedMessages } from './loaded-messages.js';
import type { PartitionQueue } from './partition-queue.js';
import type { PublishRouting } from './publish-routing.js';

/** The part of the outbox that the publisher has in memory: one queue for each partition key and order. */
export class PartitionQueues {
  readonly messages = new LoadedMessages();
  private readonly partitions = new Map<string, PartitionQueue>();
  /** The queues whose first message isn't in flight. */
  private waiting: PartitionQueue[] = [];
  private readonly limits = new LoadLimits();

  /** @param held the shards that this process publishes now */
  constructor(
    private readonly held: () => HeldShards,
    private readonly routeOf: PublishRouting['routeOf'],
  ) {}

  /**
   * Which messages the next query reads. It leaves out the groups that have their share of the memory, and the rest of their
   * queues and of failing ones.
   * @param floor see `LoadedMessages`
   */
  query(floor: number | undefined): Pick<OutboxQuery, 'loaded' | 'excluded' | 'after' | 'limit'> {
    const groups = this.limits.fullGroups;
    if (groups.length > 0) this.messages.leaveOut();
    const queues: string[] = [];
    for (const { isFailing, group, name } of this.partitions.values())
      if (isFailing || groups.includes(group)) queues.push(name);
    return { ...this.messages.excluded(floor), excluded: { queues, groups }, limit: this.room };
  }

  /** Whether a group has its share of the memory, so that a query leaves out its other messages. */
  get hasFullGroup(): boolean {
    return this.limits.hasFullGroup;
  }

  /** How many messages the next query may read. */
  get room(): number {
    return this.messages.isFull ? 0 : this.limits.batch(this.messages.count);
  }

  /** Whether so few messages are loaded that the outbox should be read again. */
  get isHalfEmpty(): boolean {
    return !this.messages.isFull && this.limits.isHalfEmpty(this.messages.count);
  }

  /** Requests that large messages allow at a time. */
  get maxInFlight(): number {
    return this.limits.maxInFlight;
  }

  /** Whether a message that hasn't failed may be sent. @param hasRoom whether another message of a group may be in flight */
  hasReady(hasRoom: (group: string) => boolean): boolean {
    return this.waiting.some((it) => !it.isFailing && hasRoom(consumersOf(it)));
  }

  get isEmpty(): boolean {
    return this.waiting.length === 0;
  }

  /**
   * Adds the messages of a query, with the leases that were held when it began. Those of a full group are left out, and so
   * is what comes after them in their queue.
   */
  add(rows: readonly (OutboxRow & { shard?: number })[], tokens: HeldShards): void {
    this.limits.adjust(rows.map(({ event }) => event.length));
    const leftOut = new Set<string>();
    for (const { seq, type, partition_key: key, event, shard } of rows) {
      const { order, group } = this.routeOf(type);
      const name = queueName(order, key);
      const partition = this.partitions.get(name);
      this.messages.read(seq);
      if (leftOut.has(name) || !this.limits.add(partition?.group ?? group)) {
        leftOut.add(name);
        this.messages.leaveOut();
        continue;
      }
      this.messages.add(seq);
      const message = { seq, type, group, event: JSON.parse(event) as CloudEvent, attempts: 0 };
      if (partition) {
        partition.messages.push(message);
        continue;
      }
      const lease = shard === undefined ? {} : { shard, token: tokens?.get(shard) };
      const opened: PartitionQueue = { name, group, ...lease, messages: [message], notBefore: 0, isFailing: false };
      this.partitions.set(name, opened);
      this.waiting.push(opened);
    }
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
    this.setFailing(partition, false);
    for (const { seq } of partition.messages) {
      this.messages.unload(seq);
      this.limits.remove(partition.group);
    }
    this.partitions.delete(partition.name);
    this.messages.includeAll();
  }

  /**
   * Takes the first queue that may send at `now`.
   * @param prefersFresh prefer one that hasn't failed
   * @param hasRoom whether another message of a group may be in flight
   */
  take(now: number, prefersFresh: boolean, hasRoom: (group: string) => boolean): PartitionQueue | undefined {
    const isReady = (it: PartitionQueue) => it.notBefore <= now && hasRoom(consumersOf(it));
    const fresh = prefersFresh ? this.waiting.findIndex((it) => !it.isFailing && isReady(it)) : -1;
    const index = fresh < 0 ? this.waiting.findIndex(isReady) : fresh;
    return index < 0 ? undefined : this.waiting.splice(index, 1)[0];
  }

  /** When the next queue that waits for a retry may send, on the clock of `performance.now()`. */
  nextReadyAfter(now: number): number {
    return this.waiting.reduce((next, { notBefore }) => (notBefore > now ? Math.min(next, notBefore) : next), Infinity);
  }

  /** The broker works again: nothing waits any longer. */
  retryNow(): void {
    for (const partition of this.waiting) partition.notBefore = 0;
  }

  /**
   * Puts a queue back whose first message failed. The rest of the queue is unloaded, so that it takes no room.
   * @returns whether its group has room again, for the outbox may hold more of it
   */
  retryLater(partition: PartitionQueue, notBefore: number): boolean {
    partition.notBefore = notBefore;
    let isReopened = this.setFailing(partition, true);
    partition.messages[0]!.event = undefined;
    for (const { seq } of partition.messages.splice(1)) {
      this.messages.unload(seq);
      if (this.limits.remove(partition.group)) isReopened = true;
    }
    this.messages.includeAll();
    this.waiting.push(partition);
    return isReopened;
  }

  /** Puts a queue back as it was, to send at `notBefore`. */
  putBack(partition: PartitionQueue, notBefore: number): void {
    partition.notBefore = notBefore;
    this.waiting.push(partition);
  }

  /** Drops the first message, which has left. @returns whether the outbox may hold messages that can be loaded now */
  advance(partition: PartitionQueue): boolean {
    const { isFailing, group } = partition;
    const hasRecovered = this.setFailing(partition, false);
    partition.messages.shift();
    this.messages.accepted();
    const isReopened = this.limits.remove(group) || hasRecovered;
    partition.notBefore = 0;
    if (partition.messages.length > 0) this.waiting.push(partition);
    else this.partitions.delete(partition.name);
    if (isFailing) this.messages.includeAll();
    return isFailing || (isReopened && this.messages.includeLeftOut());
  }

  /** @returns whether its group has room again */
  private setFailing(partition: PartitionQueue, isFailing: boolean): boolean {
    if (partition.isFailing === isFailing) return false;
    partition.isFailing = isFailing;
    return this.limits.setFailing(partition.group, isFailing);
  }
}

/** The consumers that the first message of a queue waits for. */
function consumersOf({ messages }: PartitionQueue): string {
  return messages[0]!.group;
}
