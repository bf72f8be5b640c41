/** Events that all consumers of a process have in memory, at most, in bytes; each consumer may always have one. */
const MAX_BYTES = 16 * 1024 * 1024;

/** Bounds the memory for events that are being handled: one may have a megabyte. */
export class EventBudget {
  private used = 0;

  /** Bytes that are left, at least 0. */
  get left(): number {
    return Math.max(0, MAX_BYTES - this.used);
  }

  take(bytes: number): void {
    this.used += bytes;
  }

  giveBack(bytes: number): void {
    this.used -= bytes;
  }
}
