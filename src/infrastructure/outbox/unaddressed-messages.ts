import { MESSAGE_UNIT, type Consumer } from '../delivery/consumer.js';
import type { Journal } from '../delivery/journal.js';
import type { DeliveryPolicy } from '../contracts/retry-policy.js';
import { UnknownType } from '../delivery/unknown-type.js';
import type { UnitOfWork } from '../persistence/unit-of-work.js';
import { claimDelivery, insertDeliveries } from '../store/delivery-rows.js';
import { insertIntoOutbox } from '../store/outbox-rows.js';

/* Messages whose type decides on their consumers, and was unknown. They wait as deliveries for a consumer that is no module. */

/** How messages of known types go on. */
export interface Routes {
  /** The known types; absent for all. */
  readonly types?: () => readonly string[];
  /** The consumers of a type in this process; undefined puts the message back into the outbox. */
  readonly consumersOf: (type: string) => readonly string[] | undefined;
  /** Called after messages were moved: to the deliveries of these consumers, or to the outbox. */
  readonly wake: (consumers: readonly string[]) => void;
}

/**
 * Moves messages on once this process knows their type.
 * @param name that their deliveries carry
 */
export function unaddressedMessages(
  name: string,
  work: UnitOfWork,
  policy: DeliveryPolicy,
  journal: Journal,
  routes: Routes,
): Consumer {
  return {
    name,
    policy,
    journal,
    // Handlers are found after this consumer has been made.
    get types() {
      return routes.types?.();
    },
    deliver: async (delivery) => {
      const { event } = delivery;
      if (routes.types?.().includes(event.type) === false) throw new UnknownType(event.type);
      const consumers = routes.consumersOf(event.type);
      const isOurs = await work.run(async () => {
        if (!(await claimDelivery(work.sql, delivery))) return false;
        if (!consumers) await insertIntoOutbox(work.sql, [event]);
        else
          await insertDeliveries(
            work.sql,
            consumers.map((consumer) => ({ consumer, event })),
          );
        return true;
      }, MESSAGE_UNIT);
      if (!isOurs) return 'lease-lost';
      routes.wake(consumers ?? []);
      return 'type known now: moved on';
    },
  };
}
