import { setTimeout as wait } from 'node:timers/promises';
import { waitAfter, type DeliveryPolicy } from '../../src/infrastructure/contracts/retry-policy.js';
import { DeliveryRefused } from './delivery-errors.js';

/** The result of the last attempt. */
export type Outcome<T> = { readonly value: T } | { readonly error: unknown; readonly attempts: number };

/** Longest wait that a timer of Node can hold, in ms. */
const MAX_WAIT_MS = 2 ** 31 - 1;

/** Repeats attempts by the delivery spec of a Trigger. */
export class Retries {
  /** Deliveries that wait for a retry now. */
  waiting = 0;

  /**
   * Makes the first attempt and its retries.
   * @param onRetry called before each wait, with the number of the retry and the wait in ms
   * @returns the outcome of the last attempt
   * @throws the reason of `signal` as soon as it is aborted
   */
  async run<T>(
    attempt: () => Promise<T>,
    policy: DeliveryPolicy,
    signal: AbortSignal,
    onRetry: (error: unknown, retry: number, waitMs: number) => void,
  ): Promise<Outcome<T>> {
    for (let attempts = 1; ; attempts++) {
      try {
        return { value: await attempt() };
      } catch (error) {
        signal.throwIfAborted();
        if (error instanceof DeliveryRefused || attempts > policy.retry) return { error, attempts };
        const waitMs = Math.min(waitAfter(error, policy, attempts - 1), MAX_WAIT_MS);
        onRetry(error, attempts, waitMs);
        await this.pause(waitMs, signal);
      }
    }
  }

  private async pause(ms: number, signal: AbortSignal): Promise<void> {
    this.waiting++;
    try {
      await wait(ms, undefined, { signal });
    } catch {
      signal.throwIfAborted();
    } finally {
      this.waiting--;
    }
  }
}
