import type { DeliveryPolicy } from './delivery/retry-policy.js';
import type { ReconciliationPolicy } from './maintenance/reconciliation.js';
import type { RetentionPolicy } from './store/expired-rows.js';

/* The policies of an application that configures none. */

const DAY_MS = 86_400_000;

/** As in Knative's examples: 10 retries, exponential from 0.2 s, 204.6 s in all. */
export const DEFAULT_DELIVERY: DeliveryPolicy = {
  retry: 10,
  backoffDelayMs: 200,
  backoffPolicy: 'exponential',
  timeoutMs: 30_000,
};

export const DEFAULT_RETENTION: RetentionPolicy = {
  inboxMs: 14 * DAY_MS,
  deadLetterMs: 30 * DAY_MS,
  replayWindowMs: 7 * DAY_MS,
};

/** The reconcile loop runs only on request, and sends at most 200 commands a second. */
export const DEFAULT_RECONCILIATION: ReconciliationPolicy = { everyMs: 0, perSecond: 200 };

/** How long a shutdown may take to deliver what is ready, in ms. */
export const DEFAULT_SHUTDOWN_GRACE_MS = 20_000;
