/** Messages in memory, at most. Failing ones keep only their sequence number, and count when they are all there is. */
const MAX_LOADED = 2000;
/** Events in memory, at most, in characters of JSON: about. */
const MAX_LOADED_CHARACTERS = 16_000_000;
/** The first load, before the size of the messages is known. */
const FIRST_LOAD = 16;
/** One group of consumers may have a quarter of what may be loaded. */
const SHARES = 4;
const MAX_FAILING_PER_GROUP = MAX_LOADED / SHARES;

/**
 * Decides how many messages of the outbox the publisher has in memory. A group of consumers at its limit is full: its
 * other messages stay in the outbox until half of its loaded messages have left.
 */
export class LoadLimits {
  private window = FIRST_LOAD;
  private failing = 0;
  private readonly counts = new Map<string, { fresh: number; failing: number }>();
  private readonly full = new Set<string>();

  /** Requests that the size of the messages allows at a time. */
  get maxInFlight(): number {
    return this.window;
  }

  /** The groups of which nothing more is loaded. */
  get fullGroups(): string[] {
    return [...this.full];
  }

  /** How many more messages may be loaded. @param loaded the number of messages in memory */
  room(loaded: number): number {
    return Math.min(MAX_LOADED - loaded, this.window - loaded + this.failing);
  }

  /** Whether a group is at its limit. */
  get hasFullGroup(): boolean {
    return this.full.size > 0;
  }

  /** How many messages one query reads. They may all be of one group: what that group has no room for is read in vain. */
  batch(loaded: number): number {
    const limit = this.groupLimit;
    let most = 0;
    for (const [group, { fresh }] of this.counts) if (fresh > most && !this.full.has(group)) most = fresh;
    return Math.min(this.room(loaded), Math.max(limit - most, Math.ceil(limit / 2)));
  }

  /** Whether so few messages are loaded that the outbox should be read again. */
  isHalfEmpty(loaded: number): boolean {
    return this.room(loaded) > Math.min(this.window, MAX_LOADED - this.failing) / 2;
  }

  /** Counts one more loaded message. @returns false when its group is full: it must not be loaded */
  add(group: string): boolean {
    const counts = this.countsOf(group);
    // The limit is lower now if the messages have become larger.
    this.close(group, counts);
    if (this.full.has(group)) return false;
    counts.fresh++;
    this.close(group, counts);
    return true;
  }

  /** A loaded message that isn't failing has left, or was unloaded. @returns whether its group is no longer full */
  remove(group: string): boolean {
    const counts = this.countsOf(group);
    counts.fresh--;
    const isReopened = this.reopen(group);
    if (counts.fresh + counts.failing === 0) this.counts.delete(group);
    return isReopened;
  }

  /** A loaded message fails, or no longer does. @returns whether its group is no longer full */
  setFailing(group: string, isFailing: boolean): boolean {
    const counts = this.countsOf(group);
    const change = isFailing ? 1 : -1;
    counts.failing += change;
    counts.fresh -= change;
    this.failing += change;
    return this.reopen(group);
  }

  private close(group: string, { fresh, failing }: { fresh: number; failing: number }): void {
    if (fresh >= this.groupLimit || failing >= MAX_FAILING_PER_GROUP) this.full.add(group);
  }

  private reopen(group: string): boolean {
    const { fresh, failing } = this.countsOf(group);
    return fresh <= this.groupLimit / 2 && failing < MAX_FAILING_PER_GROUP && this.full.delete(group);
  }

  /** Loads fewer messages at a time when they are large. @param lengths characters of each event of a query */
  adjust(lengths: readonly number[]): void {
    if (lengths.length === 0) return;
    const characters = lengths.reduce((sum, length) => sum + length, 0);
    this.window = Math.max(1, Math.min(MAX_LOADED, Math.floor((MAX_LOADED_CHARACTERS * lengths.length) / characters)));
  }

  private get groupLimit(): number {
    return Math.max(1, Math.floor(this.window / SHARES));
  }

  private countsOf(group: string): { fresh: number; failing: number } {
    const known = this.counts.get(group);
    if (known) return known;
    const counts = { fresh: 0, failing: 0 };
    this.counts.set(group, counts);
    return counts;
  }
}
