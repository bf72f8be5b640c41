import { redeliveryHorizonMs, type DeliveryPolicy } from './contracts/retry-policy.js';
import type { ReconciliationPolicy } from './maintenance/reconciliation.js';
import type { RetentionPolicy } from './store/expired-rows.js';

/* The policies of an application that configures none. */

const DAY_MS = 86_400_000;

/** As in Knative's examples: 10 retries, exponential from 0.2 s, 204.6 s in all. A rolling update may take a day. */
export const DEFAULT_DELIVERY: DeliveryPolicy = {
  retry: 10,
  backoffDelayMs: 200,
  backoffPolicy: 'exponential',
  timeoutMs: 30_000,
  unknownTypeGraceMs: DAY_MS,
};

/** The delivery policy of an application. */
export function deliveryOf({ delivery }: { readonly delivery?: Partial<DeliveryPolicy> }): DeliveryPolicy {
  return { ...DEFAULT_DELIVERY, ...delivery };
}

/**
 * The delivery spec of a Broker for receivers with this policy. Its timeout is longer than that of the receiver, which
 * answers with the reason of a failure: after a timeout of the Broker the dead letter has no reason.
 */
export function brokerDelivery(policy: DeliveryPolicy): DeliveryPolicy {
  return { ...policy, timeoutMs: 2 * policy.timeoutMs };
}

/** The delivery spec of the Broker in the manifests. */
export const BROKER_DELIVERY = brokerDelivery(DEFAULT_DELIVERY);

/** The longest delay of a timer of Node, in ms. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/**
 * The longest time until a Broker has answered its publisher, in ms: all attempts of the subscriber time out, then all
 * attempts of the dead letter sink. A synchronous Broker cancels them when the publisher gives up earlier, and starts anew
 * with the next request, so that nothing becomes a dead letter (recorded from Knative Eventing 1.18.4).
 * @param policy of the receivers
 */
export function brokerChainMs(policy: DeliveryPolicy): number {
  return Math.min(2 * redeliveryHorizonMs(brokerDelivery(policy)), MAX_TIMER_MS);
}

export const DEFAULT_RETENTION: RetentionPolicy = {
  inboxMs: 14 * DAY_MS,
  deadLetterMs: 30 * DAY_MS,
  replayWindowMs: 7 * DAY_MS,
  journalMs: 0,
};

/** The reconcile loop runs only on request, and examines at most 200 subjects a second. */
export const DEFAULT_RECONCILIATION: ReconciliationPolicy = { everyMs: 0, afterMs: 300_000, perSecond: 200 };

/** How long a shutdown may take to deliver what is ready, in ms. */
export const DEFAULT_SHUTDOWN_GRACE_MS = 20_000;

/** Requests that may wait for an outcome at a time: a fifth of the requests that the manifests let into a pod at a time. */
export const DEFAULT_MAX_WAITERS = 20;
