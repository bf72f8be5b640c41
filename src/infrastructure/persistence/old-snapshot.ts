/** A transaction of another session or process that has been open for long: what it could still see can't be cleaned up. */
export interface OldSnapshot {
  readonly ageMs: number;
  /** The process: the session on PostgreSQL, a process of this machine on SQLite. Absent when that isn't known. */
  readonly pid?: number;
  /** What it is, for an operator. */
  readonly what: string;
}

/** Younger transactions do no harm, in ms. */
export const OLD_SNAPSHOT_MS = 10_000;
