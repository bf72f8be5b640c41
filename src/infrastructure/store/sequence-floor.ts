import type { Sql, SqlValue } from '../persistence/sql.js';

/** Pause between two attempts to raise a floor, in ms. */
const RAISE_MS = 1000;
/** Interval of full looks below a floor, in ms. */
const FULL_LOOK_MS = 60_000;

/** A sequence number up to which all rows may be gone, once the transactions that might still add some have ended. */
interface Candidate {
  readonly seq: number;
  /** Transactions that had locked the table for writing: one that got a number up to `seq` is among them, or has ended. */
  readonly writers: readonly string[];
}

/**
 * Up to which sequence number a queue has no rows any more. On PostgreSQL removed rows stay in the table and its indexes while
 * an old transaction could still see them, and a query that begins at the front reads over all of them. A query that
 * begins at the floor misses no row, not even one of a transaction that commits late.
 */
export class SequenceFloor {
  private seq = 0;
  private highest = 0;
  private candidate?: Candidate;
  private raisedAt = -Infinity;
  private lookedAt = performance.now();

  /**
   * @param consumer whose first attempts are the rows, in the table of deliveries
   * @param raiseMs pause between two attempts to raise the floor
   */
  constructor(
    private readonly table: 'mesh_outbox' | 'mesh_delivery',
    private readonly consumer?: string,
    private readonly raiseMs = RAISE_MS,
  ) {}

  /** A query reads rows with a larger sequence number than this. Raises the floor now and then. @param sql on the reading side */
  async current(sql: Sql): Promise<number> {
    if (sql.dialect === 'sqlite') return 0;
    const now = performance.now();
    if (this.seq > 0 && now - this.lookedAt >= FULL_LOOK_MS) await this.lookBelow(sql, now);
    if (this.highest > this.seq && now - this.raisedAt >= this.raiseMs) {
      this.raisedAt = now;
      await this.raise(sql);
    }
    return this.seq;
  }

  /** Takes note of a row that was read. */
  read(seq: SqlValue): void {
    this.highest = Math.max(this.highest, Number(seq));
  }

  /** Begins at the front again, as after a failover, which may have set the sequence back. */
  reset(): void {
    this.seq = this.highest = 0;
    this.candidate = undefined;
  }

  private async raise(sql: Sql): Promise<void> {
    const { candidate, highest } = this;
    // A row takes its number after its statement has locked the table, and the lock ends with the transaction.
    const writers = await sql.all<{ writer: string }>(
      `SELECT virtualtransaction AS writer FROM pg_locks WHERE locktype = 'relation' AND mode = 'RowExclusiveLock'
       AND relation = '${this.table}'::regclass AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`,
    );
    // reset() came in between.
    if (this.highest < highest) return;
    const open = writers.map(({ writer }) => writer);
    if (candidate?.writers.some((it) => open.includes(it))) return;
    if (candidate) {
      const first = await this.firstRow(sql, `seq > $1`, this.seq);
      // After reset() this is another round.
      if (this.candidate !== candidate) return;
      this.seq = Math.max(this.seq, Math.min(candidate.seq, first - 1));
    }
    this.candidate = { seq: highest, writers: open };
  }

  /** There is nothing below a floor, except when the sequence was set back. */
  private async lookBelow(sql: Sql, now: number): Promise<void> {
    this.lookedAt = now;
    const { seq } = this;
    // With an old snapshot the look may take too long: the next one is due in a minute.
    const first = await this.firstRow(sql, `seq <= $1`, seq).catch(() => Infinity);
    if (first <= seq) this.reset();
  }

  private async firstRow(sql: Sql, where: string, seq: number): Promise<number> {
    const ofConsumer = this.consumer === undefined ? '' : 'AND consumer = $2 AND attempts = 0';
    const [row] = await sql.all<{ seq: SqlValue }>(
      `SELECT seq FROM ${this.table} WHERE ${where} ${ofConsumer} ORDER BY seq LIMIT 1`,
      [seq, ...(this.consumer === undefined ? [] : [this.consumer])],
    );
    return row ? Number(row.seq) : Infinity;
  }
}
