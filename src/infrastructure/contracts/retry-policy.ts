/** How a delivery is tried again, in the terms of Knative's delivery spec. */
export interface DeliveryPolicy {
  /** Attempts after the first. */
  readonly retry: number;
  readonly backoffDelayMs: number;
  readonly backoffPolicy: 'exponential' | 'linear';
  /** Longest time that one attempt may prepare or perform, in ms. */
  readonly timeoutMs: number;
  /** Whether the waits are spread by a tenth; true by default. */
  readonly jitter?: boolean;
  /** Longest `Retry-After` of a receiver that is honoured, in ms; 0 by default. */
  readonly retryAfterMaxMs?: number;
  /** How long a message of an unknown type waits for a release that knows its type, in ms; 0 (not at all) by default. */
  readonly unknownTypeGraceMs?: number;
}

/** Share by which a wait is spread to either side, so that messages that failed together don't return together. */
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

/** The wait after an attempt that failed with `error`, in ms: the backoff, or the `retryAfterMs` that a receiver asked for. */
export function waitAfter(error: unknown, policy: DeliveryPolicy, n: number): number {
  const asked = (error as { retryAfterMs?: unknown } | null | undefined)?.retryAfterMs;
  const patience = typeof asked === 'number' && !Number.isNaN(asked) ? Math.min(asked, policy.retryAfterMaxMs ?? 0) : 0;
  return Math.max(jitteredBackoffMs(policy, n), patience);
}

/** Upper bound of the time until the next attempt, from the beginning of an attempt on, in ms. */
export function maxWaitMs(policy: DeliveryPolicy): number {
  return (
    policy.timeoutMs + Math.max(backoffMs(policy, policy.retry) * (1 + JITTER), policy.retryAfterMaxMs ?? 0) + 1000
  );
}

/** Longest time between the first attempt of a message and the end of its last retry, in ms. */
export function redeliveryHorizonMs(policy: DeliveryPolicy): number {
  let total = (policy.retry + 1) * policy.timeoutMs;
  for (let n = 0; n < policy.retry; n++) total += backoffMs(policy, n) * (1 + JITTER);
  return total;
}
