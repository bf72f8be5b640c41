/** The part of the pool that batched units may take all together. The rest is for requests. */
const MAX_SHARE = 0.8;
/** The part of the pool that may be taken when a batcher begins another transaction beside those that it has. */
const MAX_FURTHER_SHARE = 0.6;
/** The part of the pool that one batcher may take while its units run alone. */
const MAX_ISOLATED_SHARE = 0.4;
/** More transactions of one batcher at a time are no faster. */
const MAX_ISOLATED = 10;

/** One that shares the connections of a pool with others. */
export interface SlotUser {
  /** How many slots it has. */
  readonly inFlight: number;
  /** Is called when a slot may be free, after `take()` has refused one. */
  begin(): void;
}

/**
 * Divides the connections of a pool among consumers and requests: the transactions of a consumer that is slow or fails
 * occupy their connections for long. So each consumer gets a first transaction sooner than another one gets a further.
 */
export class TransactionSlots {
  /** How many transactions a batcher may have at a time while its units run alone. */
  readonly maxIsolated: number;
  private readonly max: number;
  private readonly maxFurther: number;
  private taken = 0;
  private readonly waiting = new Set<SlotUser>();

  constructor(poolSize: number) {
    this.max = Math.max(1, Math.floor(poolSize * MAX_SHARE));
    this.maxFurther = Math.min(this.max, Math.ceil(poolSize * MAX_FURTHER_SHARE));
    this.maxIsolated = Math.min(MAX_ISOLATED, Math.ceil(poolSize * MAX_ISOLATED_SHARE));
  }

  /** @returns whether `user` has got a slot; otherwise its `begin()` is called later */
  take(user: SlotUser): boolean {
    if (this.taken < (user.inFlight > 0 ? this.maxFurther : this.max)) {
      this.taken++;
      return true;
    }
    this.waiting.add(user);
    return false;
  }

  /** Gives a slot back. Those that have the fewest slots are called first, and of these the one that waits longest. */
  release(): void {
    this.taken--;
    for (const user of [...this.waiting].sort((a, b) => a.inFlight - b.inFlight)) {
      if (this.taken >= this.max) return;
      this.waiting.delete(user);
      user.begin();
    }
  }
}
