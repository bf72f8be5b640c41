/** How a delivery is tried again, in the terms of Knative's delivery spec. */
export interface DeliveryPolicy {
  /** Tries after the first one. */
  readonly retry: number;
  readonly backoffDelayMs: number;
  readonly backoffPolicy: 'exponential' | 'linear';
  /** Longest time that one try may prepare, in ms. */
  readonly timeoutMs: number;
  /** Whether the waits are spread a little; they are unless told. */
  readonly jitter?: boolean;
  /** The longest `Retry-After` of a receiver that is honoured, in ms; none unless told. */
  readonly retryAfterMaxMs?: number;
}

/** Retries spread by this share to either side, so that what failed together doesn't come back together. */
const JITTER = 0.1;

/**
 * The wait before the n-th retry (n from 0), in ms, without jitter. Knative's channel dispatcher counts from 0:
 * exponential is delay * 2^n, linear is delay * n, with an immediate first retry (knative.dev/eventing,
 * pkg/kncloudevents/retries.go).
 */
export function backoffMs({ backoffDelayMs, backoffPolicy }: DeliveryPolicy, n: number): number {
  return backoffPolicy === 'exponential' ? backoffDelayMs * 2 ** n : backoffDelayMs * n;
}

/** `backoffMs` with the jitter of in-process delivery. */
export function jitteredBackoffMs(policy: DeliveryPolicy, n: number, random = Math.random()): number {
  const spread = policy.jitter === false ? 0 : JITTER;
  return Math.round(backoffMs(policy, n) * (1 - spread + 2 * spread * random));
}

/** The wait after a try that failed with `error`, in ms; a receiver may have asked for more than the backoff. */
export function waitAfter(error: unknown, policy: DeliveryPolicy, n: number): number {
  const asked = (error as { retryAfterMs?: unknown } | null | undefined)?.retryAfterMs;
  const patience = typeof asked === 'number' && !Number.isNaN(asked) ? Math.min(asked, policy.retryAfterMaxMs ?? 0) : 0;
  return Math.max(jitteredBackoffMs(policy, n), patience);
}

/** Longer than `waitAfter` ever puts a retry off, in ms. */
export function longestWaitMs(policy: DeliveryPolicy): number {
  return Math.max(backoffMs(policy, policy.retry) * (1 + JITTER), policy.retryAfterMaxMs ?? 0) + 1000;
}

/** The longest time in ms between the first delivery of a message and its last retry. */
export function redeliveryHorizonMs(policy: DeliveryPolicy): number {
  let total = (policy.retry + 1) * policy.timeoutMs;
  for (let n = 0; n < policy.retry; n++) total += backoffMs(policy, n) * (1 + JITTER);
  return total;
}

/** Whether a Knative dispatcher retries after this HTTP status (measured on Knative Eventing 1.12.6). */
export function isRetryable(status: number): boolean {
  return status >= 500 || [404, 408, 409, 429].includes(status);
}
