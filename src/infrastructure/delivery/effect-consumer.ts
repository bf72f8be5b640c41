import type { Effect } from '../contracts/find-handlers.js';
import { Reject, type EffectPolicy, type MessageClass } from '../contracts/message.js';
import { parseMessage } from '../cloudevents/mapping.js';
import { runInContext } from '../observability/request-context.js';
import { HANDLING } from '../observability/telemetry.js';
import type { UnitOfWork } from '../persistence/unit-of-work.js';
import { attemptsWith } from '../store/delivery-attempts.js';
import { claimDelivery, postponeDelivery, type Delivery } from '../store/delivery-rows.js';
import { MESSAGE_UNIT, type Consumer } from './consumer.js';
import type { Journal } from './journal.js';
import { messageContext } from './message-context.js';
import { waitAfter, type DeliveryPolicy } from '../contracts/retry-policy.js';
import { withinTime } from './time-limit.js';

/** Attempts of one effect at a time, unless its policy has another number. */
const CONCURRENCY = 16;

/** What the row of an attempt says until its outcome is there, and for good when the process ends before. */
const INTERRUPTED = 'The attempt did not end: the process ended before, or lost its database';

/**
 * A handler with `perform()`, as a consumer. Its delivery was written in the unit that recorded the message, and is deleted
 * after `perform()`. An attempt is counted and postponed before it begins: a process that `perform()` ends doesn't repeat it
 * for ever, and no other process performs it meanwhile.
 * @param module that has the handler
 * @param policy of the application
 */
export function effectConsumer(
  effect: Effect,
  message: MessageClass,
  module: string,
  work: UnitOfWork,
  policy: DeliveryPolicy,
  journal: Journal,
): Consumer {
  const own: EffectPolicy = { concurrency: CONCURRENCY, ...policy, ...effect.policy };
  return {
    name: effect.consumer,
    policy: own,
    journal,
    types: [message.type],
    maxInFlight: own.concurrency,
    waitsForOthers: true,
    begin: (delivery) => begin(delivery, work, own),
    deliver: async (delivery) => {
      const { event } = delivery;
      const attempt = { id: event.id, number: delivery.attempts };
      const perform = (signal: AbortSignal) => effect.perform(parseMessage(event, message), { ...attempt, signal });
      await runInContext(messageContext(event, module), () =>
        HANDLING.run({ consumer: effect.consumer, event }, () =>
          withinTime(own.timeoutMs, `perform() of ${effect.name}`, perform),
        ),
      );
      const isOurs = await work.run(async () => {
        if (!(await claimDelivery(work.sql, delivery))) return false;
        await journal.add(work.sql, {
          consumer: effect.consumer,
          event,
          attempts: attempt.number,
          outcome: 'performed',
        });
        return true;
      }, MESSAGE_UNIT);
      return isOurs ? 'performed' : 'lease-lost';
    },
  };
}

/** @throws Reject when all attempts were begun already */
async function begin(delivery: Delivery, work: UnitOfWork, policy: EffectPolicy): Promise<Delivery | undefined> {
  const attempts = attemptsWith(delivery);
  if (attempts > policy.retry + 1) throw new Reject(INTERRUPTED);
  const dueAt = Date.now() + policy.timeoutMs + waitAfter(undefined, policy, attempts - 1);
  const outcome = { attempts, dueAt, error: INTERRUPTED };
  const isOurs = await work.run(() => postponeDelivery(work.sql, delivery, outcome), MESSAGE_UNIT);
  return isOurs ? { ...delivery, attempts, isWaiting: false, isCounted: true } : undefined;
}
