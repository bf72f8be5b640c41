import type { BrokerHealth } from './broker-health.js';
import type { Bulkheads } from './bulkheads.js';
import { EarliestTimer } from './earliest-timer.js';
import type { PartitionQueue } from './partition-queue.js';
import type { PartitionQueues } from './partition-queues.js';

/** Decides which queue may send its first message now. */
export class PublishSchedule {
  /** Attempts while the broker was unavailable. */
  private probes = 0;
  private readonly timer: EarliestTimer;

  /** @param onTime called when time alone lets another queue send */
  constructor(
    private readonly queues: PartitionQueues,
    private readonly health: BrokerHealth,
    private readonly bulkheads: Bulkheads,
    onTime: () => void,
  ) {
    this.timer = new EarliestTimer(onTime);
  }

  /** Whether a message that hasn't failed may be sent. */
  get hasReady(): boolean {
    this.bulkheads.ageAt(performance.now());
    return !this.health.isUnavailable && this.queues.hasReady(this.hasRoom);
  }

  /** Takes the queue that may send now. */
  next(): PartitionQueue | undefined {
    while (!this.queues.isEmpty) {
      const partition = this.take();
      if (!partition || this.queues.isOurs(partition)) return partition;
      this.queues.unload(partition);
    }
    return undefined;
  }

  /** Forgets the call of `onTime` that is to come. */
  cancel(): void {
    this.timer.cancel();
  }

  private take(): PartitionQueue | undefined {
    const { health, bulkheads, queues } = this;
    const now = performance.now();
    bulkheads.ageAt(now);
    if (health.isUnavailable && bulkheads.freshCount > 0) return undefined;
    if (bulkheads.openCount >= queues.maxInFlight) return undefined;
    const isPaused = health.pausedUntil > now;
    // The usual case under load is full bulkheads: the next answer makes room, and no queue has to be looked at.
    const isFull = bulkheads.isFull;
    const found = isPaused || isFull ? undefined : queues.take(now, this.prefersFresh(), this.hasRoom);
    if (found) return found;
    const next = isPaused ? health.pausedUntil : isFull ? Infinity : queues.nextReadyAfter(now);
    this.timer.set(Math.min(next, bulkheads.nextSlowAt) - now);
    return undefined;
  }

  private readonly hasRoom = (group: string) => this.bulkheads.hasRoom(group);

  /** A message that hasn't failed tells more of an unavailable broker; every other probe is for one that has. */
  private prefersFresh(): boolean {
    return this.health.isUnavailable && this.probes++ % 2 === 0;
  }
}
