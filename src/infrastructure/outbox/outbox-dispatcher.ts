import type { DirectConsumers } from '../store/new-messages.js';
import type { DeliveryWorkers } from '../delivery/delivery-workers.js';

/** Attempts to publish that failed in a row. */
export interface BrokerFailure {
  /** The first of them, as UTC ISO 8601. */
  readonly since: string;
  readonly attempts: number;
  /** The last error. */
  readonly reason: string;
}

/** What a process knows of its broker. */
export interface BrokerState {
  /** Requests that the broker hasn't answered for a while, because it waits for consumers. */
  readonly waiting: { readonly requests: number; readonly since?: string; readonly types: Record<string, number> };
  /** The broker takes nothing at this address, or not from this process. */
  readonly refused?: BrokerFailure;
  /** The broker doesn't answer, or answers that it is out of order. */
  readonly unreachable?: BrokerFailure;
}

/**
 * Takes messages out of the outbox: `InProcessDispatcher` to the deliveries of this process, `Publisher` to a broker.
 * mesh-providers.ts chooses.
 */
export interface OutboxDispatcher {
  /** Whether it has work that it can do now. */
  readonly isBusy: boolean;
  /** How long the messages that it could take out now have waited, in ms; 0 when it keeps up. */
  readonly backlogAgeMs: number;
  /** Why messages can't leave until an operator acts, if that is so. */
  readonly suspendedReason?: string;
  /** Absent where messages go to no broker. */
  readonly brokerState?: BrokerState;
  /** Consumers whose deliveries may be written instead of an outbox row; absent where all messages go to a broker. */
  readonly consumersOf?: DirectConsumers;
  /** The outbox has no rows up to this sequence number; see `SequenceFloor`. */
  readonly outboxFloor?: number;
  /** @param workers to wake when there are deliveries for them */
  start(workers: DeliveryWorkers): void;
  /** Reads the outbox, now or as soon as the present read has ended. */
  wake(): void;
  /** A unit of work is about to commit messages. */
  aboutToCommit?(): void;
  /** @param deadline when to drop what is in flight, on the clock of `performance.now()` */
  stop(deadline: number): Promise<void>;
}
