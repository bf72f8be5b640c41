/** Units that share a transaction or a savepoint, at most: so many that its own statements weigh little beside theirs. */
const MAX_UNITS = 64;
/** For how long units stay apart after several have failed together, unless told: doubled with every failure; in ms. */
const MIN_ISOLATION_MS = 500;
const MAX_ISOLATION_MS = 30_000;

/**
 * How many units of work share what each would need alone: as many as are done in about `goalMs`. What fails takes its
 * neighbours along; after that each is alone for a while.
 */
export class BatchSize {
  private units = 4;
  private isolatedUntil = 0;
  private isolationMs: number;

  constructor(
    private readonly goalMs: number,
    private readonly shortestMs = MIN_ISOLATION_MS,
  ) {
    this.isolationMs = shortestMs;
  }

  get isIsolated(): boolean {
    return performance.now() < this.isolatedUntil;
  }

  get now(): number {
    return this.isIsolated ? 1 : this.units;
  }

  succeeded(units: number, ms: number): void {
    if (ms > 2 * this.goalMs) this.units = Math.ceil(this.units / 2);
    else if (ms < this.goalMs && units === this.units) this.units = Math.min(MAX_UNITS, this.units * 2);
    if (units > 1) this.isolationMs = Math.max(this.shortestMs, this.isolationMs / 2);
  }

  failed(): void {
    this.isolatedUntil = performance.now() + this.isolationMs;
    this.isolationMs = Math.min(MAX_ISOLATION_MS, this.isolationMs * 2);
  }
}
