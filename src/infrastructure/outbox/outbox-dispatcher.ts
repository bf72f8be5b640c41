import type { DeliveryWorkers } from '../delivery/delivery-workers.js';

/**
 * Takes messages out of the outbox: `InProcessDispatcher` to the deliveries of this process, `Publisher` to a broker.
 * mesh-providers.ts chooses.
 */
export interface OutboxDispatcher {
  /** Whether it has work that it can do now. */
  readonly isBusy: boolean;
  /** Why messages can't leave until an operator acts, if that is so. */
  readonly suspendedReason?: string;
  /** @param workers to wake when there are deliveries for them */
  start(workers: DeliveryWorkers): void;
  /** Reads the outbox, now or as soon as the present read has ended. */
  wake(): void;
  /** A unit of work is about to commit messages. */
  aboutToCommit?(): void;
  /** @param deadline when to drop what is in flight, on the clock of `performance.now()` */
  stop(deadline: number): Promise<void>;
}
