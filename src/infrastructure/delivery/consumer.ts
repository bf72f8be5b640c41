import type { Sql } from '../persistence/sql.js';
import type { FailedMessage } from '../store/dead-letter-rows.js';
import type { Delivery } from '../store/delivery-rows.js';
import type { DeliveryPolicy } from '../contracts/retry-policy.js';
import type { Journal } from './journal.js';

/**
 * A recipient of deliveries: a module of this process (`InboxReceiver.consumers`), or the address of another process
 * (`remoteConsumer()`).
 */
export interface Consumer {
  /** The name that its deliveries carry. */
  readonly name: string;
  readonly policy: DeliveryPolicy;
  /** The types that it handles in this release; absent for all. Messages of other types wait for another release. */
  readonly types?: readonly string[];
  /**
   * One attempt. Claims the delivery as the first statement of the unit of work that keeps the outcome.
   * @returns the outcome, for the log; `lease-lost` when another process has the delivery now
   * @throws UnknownType when another release may handle the message, Reject when no retry can help; any other error is
   *   retried, after `retryAfterMs` of the error if it has that
   */
  deliver(delivery: Delivery): Promise<string>;
  /** Where its dead letters leave a row. */
  readonly journal?: Journal;
  /** Deliveries in flight at a time; 128 by default. */
  readonly maxInFlight?: number;
  /** Whether its attempts wait for other systems, so that its backlog says nothing about the load of this process. */
  readonly waitsForOthers?: boolean;
  /**
   * Called before `deliver()` where an attempt is counted before it begins.
   * @returns the delivery as its row is now; undefined when another process has it
   * @throws what `deliver()` would
   */
  begin?(delivery: Delivery): Promise<Delivery | undefined>;
  /** Keeps a failed message, in the unit of work that claimed it; without this it goes to the dead letters. */
  deadLetter?(sql: Sql, message: FailedMessage): Promise<void>;
}

/** Options of units that handle or move messages: under load they go before requests most of the time. */
export const MESSAGE_UNIT = { isMessage: true };

/** Pause after a failure of the database, in ms. */
export const DATABASE_PAUSE_MS = 250;
