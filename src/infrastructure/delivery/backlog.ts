import type { Delivery } from '../store/delivery-rows.js';

/** A consumer that has handled nothing for so long, in ms, waits for something else than this process. */
const IDLE_MS = 1000;
/** The share of the last attempt in the average. */
const NEWEST_SHARE = 0.05;

/** How far one consumer is behind with its first attempts. */
export class Backlog {
  /** When the last message of a full query was written, in ms since 1970: those that weren't read yet are younger. */
  private since?: number;
  private successShare = 1;
  private lastSuccessAt = -Infinity;

  /** Takes note of a query for first attempts. @param isFull whether there may be more of them */
  found(deliveries: readonly Delivery[], isFull: boolean): void {
    this.since = isFull ? deliveries.at(-1)?.createdAt : undefined;
  }

  /** Takes note of an attempt. */
  ended(isSuccess: boolean): void {
    this.successShare += NEWEST_SHARE * (Number(isSuccess) - this.successShare);
    if (isSuccess) this.lastSuccessAt = performance.now();
  }

  /** Age in ms; 0 when the consumer keeps up, and when it fails or hangs: then its messages wait for that to end. */
  get ageMs(): number {
    const isWorking = this.successShare > 0.5 && performance.now() - this.lastSuccessAt < IDLE_MS;
    return this.since === undefined || !isWorking ? 0 : Date.now() - this.since;
  }
}
