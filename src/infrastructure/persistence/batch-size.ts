/** Units that share a transaction or a savepoint, at most: so many that its own statements weigh little beside theirs. */
const LONGEST = 64;
/** For how long units stay apart after several have failed together, unless told: doubled with every failure; in ms. */
const SHORTEST_MS = 500;
const LONGEST_MS = 30_000;

/**
 * How many units of work share what each would need alone: as many as are done in about `goalMs`. What fails takes its
 * neighbours along; after that each is alone for a while.
 */
export class BatchSize {
  private units = 4;
  private apartUntil = 0;
  private apartMs: number;

  constructor(
    private readonly goalMs: number,
    private readonly shortestMs = SHORTEST_MS,
  ) {
    this.apartMs = shortestMs;
  }

  get isApart(): boolean {
    return performance.now() < this.apartUntil;
  }

  get now(): number {
    return this.isApart ? 1 : this.units;
  }

  succeeded(units: number, ms: number): void {
    if (ms > 2 * this.goalMs) this.units = Math.ceil(this.units / 2);
    else if (ms < this.goalMs && units === this.units) this.units = Math.min(LONGEST, this.units * 2);
    if (units > 1) this.apartMs = Math.max(this.shortestMs, this.apartMs / 2);
  }

  failed(): void {
    this.apartUntil = performance.now() + this.apartMs;
    this.apartMs = Math.min(LONGEST_MS, this.apartMs * 2);
  }
}
