import { Inject, Injectable } from '@nestjs/common';
import { Conflict } from '../contracts/domain-errors.js';
import { HandlerRegistry } from '../contracts/handler-registry.js';
import { ConsumerAddresses } from '../delivery/consumer-addresses.js';
import { Relay } from '../outbox/relay.js';
import { UnitOfWork } from '../persistence/unit-of-work.js';
import { RETENTION_POLICY, type RetentionPolicy } from '../store/expired-rows.js';
import { deadLetter, deadLetterCause, type DeadLetter, type DeadLetterCause } from './dead-letter.js';
import {
  countDeadLetters,
  deleteDeadLetter,
  findDeadLetter,
  groupDeadLetters,
  listDeadLetters,
  oldestDeadLetters,
  requeueDeadLetter,
  UNPUBLISHED,
  type DeadLetterFilter,
  type DeadLetterRow,
} from '../store/dead-letter-rows.js';

/** Dead letters that one unit of work requeues, at most. */
const BATCH = 100;

/** The dead letters: kept until an operator requeues or discards them, or their retention ends. */
@Injectable()
export class DeadLetters {
  constructor(
    private readonly work: UnitOfWork,
    private readonly relay: Relay,
    private readonly registry: HandlerRegistry,
    private readonly addresses: ConsumerAddresses,
    @Inject(RETENTION_POLICY) private readonly policy: RetentionPolicy,
  ) {}

  /** The latest first. */
  async list(filter: DeadLetterFilter, page: { limit: number; offset: number }): Promise<DeadLetter[]> {
    return (await listDeadLetters(this.work.sql, filter, page)).map(deadLetter);
  }

  count(filter: DeadLetterFilter): Promise<number> {
    return countDeadLetters(this.work.sql, filter);
  }

  /** How many failed for each cause, the most frequent first. */
  async causes(filter: DeadLetterFilter): Promise<DeadLetterCause[]> {
    const groups = await groupDeadLetters(this.work.sql, filter);
    return groups.map(deadLetterCause);
  }

  async find(id: string): Promise<DeadLetter | undefined> {
    const row = await findDeadLetter(this.work.sql, id);
    return row && deadLetter(row);
  }

  /**
   * Gives a dead letter back to the consumer that failed, with its event id.
   * @param force also when it is older than the replay window
   * @returns false when there is no such dead letter
   * @throws Conflict when it is too old, or the address of its consumer is unknown
   */
  async requeue(id: string, force: boolean): Promise<boolean> {
    const row = await findDeadLetter(this.work.sql, id);
    if (!row) return false;
    if (!force && row.dead_at < this.windowStart()) {
      throw new Conflict(
        'This dead letter is older than the replay window (MESH_REPLAY_WINDOW), so the inbox may have forgotten its ' +
          'event. If its consumer is idempotent by a business key, replay it with force=true',
      );
    }
    const requeued = await this.requeueBatch(async () => {
      const found = await findDeadLetter(this.work.sql, id);
      return found ? [found] : [];
    });
    return requeued > 0;
  }

  /** Requeues all that match and are inside the replay window. @returns how many */
  async requeueAll(filter: DeadLetterFilter, force: boolean): Promise<number> {
    // Only those that are dead now: a message that fails again meanwhile waits for the next call.
    const between = { from: force ? 0 : this.windowStart(), until: Date.now() };
    for (let total = 0; ;) {
      const requeued = await this.requeueBatch(() => oldestDeadLetters(this.work.sql, filter, between, BATCH));
      total += requeued;
      if (requeued < BATCH) return total;
    }
  }

  /** @returns false when there is no such dead letter */
  async discard(id: string): Promise<boolean> {
    return this.work.run(() => deleteDeadLetter(this.work.sql, id));
  }

  /** In ms since 1970. */
  private windowStart(): number {
    return Date.now() - this.policy.replayWindowMs;
  }

  private async requeueBatch(find: () => Promise<DeadLetterRow[]>): Promise<number> {
    const consumers = new Set<string>();
    const rows = await this.work.run(async () => {
      const found = await find();
      for (const row of found) {
        const consumer = await requeueDeadLetter(this.work.sql, row, this.addressOf(row));
        if (consumer) consumers.add(consumer);
      }
      return found;
    });
    for (const consumer of consumers) this.relay.wakeConsumer(consumer);
    this.relay.wake();
    return rows.length;
  }

  /** The address of a consumer that this process doesn't host. @throws Conflict when it is unknown */
  private addressOf({ consumer, destination }: DeadLetterRow): string | undefined {
    if (destination === null && (consumer === UNPUBLISHED || this.registry.hosts(consumer))) return undefined;
    const address = this.addresses.addressOf(consumer, destination);
    if (address) return address;
    const isAddress = /^https?:/.test(consumer);
    throw new Conflict(
      isAddress
        ? `No module is known at ${consumer}: set USVC_<MODULE> to the base URL of the module there, then replay`
        : `The address of ${consumer} is unknown: set USVC_${consumer.toUpperCase()} to its base URL, then replay`,
    );
  }
}
