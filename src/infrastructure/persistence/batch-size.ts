/** Most units that share a transaction or a savepoint: then its own statements cost little beside theirs. */
const MAX_UNITS = 64;
/** How long units run alone after several have failed together, in ms; doubled with every failure. */
const MIN_ISOLATION_MS = 500;
const MAX_ISOLATION_MS = 30_000;

/**
 * How many units share a transaction or a savepoint: as many as take about `goalMs`. A unit that fails takes its neighbours
 * along; after that, units run alone for a while.
 */
export class BatchSize {
  private units = 4;
  private isolatedUntil = 0;
  private isolationMs: number;

  /** @param minIsolationMs how long units run alone after a failure, at least */
  constructor(
    private readonly goalMs: number,
    private readonly minIsolationMs = MIN_ISOLATION_MS,
  ) {
    this.isolationMs = minIsolationMs;
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
    if (units > 1) this.isolationMs = Math.max(this.minIsolationMs, this.isolationMs / 2);
  }

  failed(): void {
    this.isolatedUntil = performance.now() + this.isolationMs;
    this.isolationMs = Math.min(MAX_ISOLATION_MS, this.isolationMs * 2);
  }
}
