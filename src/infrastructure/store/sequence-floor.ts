import type { Sql, SqlValue } from '../persistence/sql.js';

/** Pause between two attempts to raise a floor, in ms. */
const RAISE_MS = 1000;
/** Pause between two looks below a floor, in ms. */
const LOOK_MS = 30_000;
/** A look may read over all removed rows: the pause after it is at least so many times its duration. */
const PAUSE_OF_LOOK = 200;

/** A sequence number up to which all rows may be gone, once the transactions that might still add some have ended. */
interface Candidate {
  readonly seq: number;
  /** Transactions that had locked the table for writing: one that got a number up to `seq` is among them, or has ended. */
  readonly writers: readonly string[];
}

/** What the server says of itself and of the table. */
interface Facts {
  /** Changes with the server, the database and the table. */
  readonly origin: string;
  readonly cache: string | null;
  /** The last number of the sequence; null when the role may not read it. */
  readonly last: string | null;
  readonly writers: readonly string[];
}

/**
 * Up to which sequence number a queue has no rows any more. On PostgreSQL removed rows stay in the table and its indexes while
 * an old transaction could still see them, and a query that begins at the front reads over all of them. A query that
 * begins at the floor misses no row, not even one of a transaction that commits late: see ADR 26.
 */
export class SequenceFloor {
  private seq = 0;
  private highest = 0;
  private candidate?: Candidate;
  private raisedAt = -Infinity;
  private origin?: string;
  /** When to look below the floor again, on the clock of `performance.now()`. */
  private nextLook: number;

  /**
   * @param consumer whose first attempts are the rows, in the table of deliveries
   * @param raiseMs pause between two attempts to raise the floor
   * @param lookMs pause between two looks below the floor
   */
  constructor(
    private readonly table: 'mesh_outbox' | 'mesh_delivery',
    private readonly consumer?: string,
    private readonly raiseMs = RAISE_MS,
    private readonly lookMs = LOOK_MS,
  ) {
    this.nextLook = performance.now() + lookMs;
  }

  /** A query reads rows with a larger sequence number than this. Raises the floor now and then. @param sql on the reading side */
  async current(sql: Sql): Promise<number> {
    if (sql.dialect === 'sqlite') return 0;
    const now = performance.now();
    if (now - this.raisedAt >= this.raiseMs) {
      this.raisedAt = now;
      await this.raise(sql);
      // Not awaited: a long look must not hold the queue up.
      if (this.seq > 0 && now >= this.nextLook) void this.look(sql);
    }
    return this.seq;
  }

  /** The floor as it was found last. */
  get known(): number {
    return this.seq;
  }

  /** Takes note of a row that was read. */
  read(seq: SqlValue): void {
    this.highest = Math.max(this.highest, Number(seq));
  }

  private async raise(sql: Sql): Promise<void> {
    const { highest } = this;
    const { origin, cache, last, writers } = await this.facts(sql);
    // At the first look nothing is known of an earlier server.
    const isOther = this.origin !== undefined && origin !== this.origin;
    // ALTER SEQUENCE … RESTART, or a backup that was restored into the tables.
    const isBehind = last !== null && Number(last) < Math.max(this.seq, highest);
    this.origin = origin;
    if (isOther || isBehind) this.beginAnew();
    // A session with a cache takes numbers before it writes, and a prepared transaction changes its name.
    const isCertain = cache === '1' && !writers.some((it) => it.startsWith('-1/'));
    const { candidate } = this;
    if (highest <= this.seq || this.highest < highest || !isCertain) return;
    if (candidate?.writers.some((it) => writers.includes(it))) return;
    if (candidate) this.seq = Math.max(this.seq, Math.min(candidate.seq, (await this.firstRow(sql, this.seq)) - 1));
    this.candidate = { seq: highest, writers };
  }

  /** Another server or database may know less than the last one, after a failover or a restored backup. */
  private beginAnew(): void {
    this.seq = this.highest = 0;
    this.candidate = undefined;
  }

  /** No row may be there at or below the floor. One that is shows that the numbers began anew, unnoticed. Never throws. */
  private async look(sql: Sql): Promise<void> {
    const began = performance.now();
    this.nextLook = Infinity;
    if ((await this.firstRow(sql, 0, this.seq).catch(() => Infinity)) !== Infinity) this.beginAnew();
    const now = performance.now();
    this.nextLook = now + Math.max(this.lookMs, PAUSE_OF_LOOK * (now - began));
  }

  /** A row takes its number after its statement has locked the table, and the lock ends with the transaction. */
  private async facts(sql: Sql): Promise<Facts> {
    const [facts] = await sql.all<Facts>(
      `WITH here AS (SELECT oid FROM pg_database WHERE datname = current_database()),
         numbers AS (SELECT seqrelid, seqcache FROM pg_sequence
           WHERE seqrelid = pg_get_serial_sequence('${this.table}', 'seq')::regclass)
       SELECT concat_ws(' ', extract(epoch FROM pg_postmaster_start_time()), (SELECT oid FROM here),
           '${this.table}'::regclass::oid) AS origin,
         (SELECT seqcache::text FROM numbers) AS cache,
         (SELECT CASE WHEN has_sequence_privilege(seqrelid, 'USAGE, SELECT')
            THEN coalesce(pg_sequence_last_value(seqrelid), 0)::text END FROM numbers) AS last,
         ARRAY(SELECT virtualtransaction FROM pg_locks WHERE locktype = 'relation' AND mode = 'RowExclusiveLock'
               AND relation = '${this.table}'::regclass
               AND database = (SELECT oid FROM here)) AS writers`,
    );
    return facts!;
  }

  /** @returns the first sequence number after `after` and up to `last`, or Infinity */
  private async firstRow(sql: Sql, after: number, last = Number.MAX_SAFE_INTEGER): Promise<number> {
    const ofConsumer = this.consumer === undefined ? '' : 'AND consumer = $3 AND attempts = 0';
    const [row] = await sql.all<{ seq: SqlValue }>(
      `SELECT seq FROM ${this.table} WHERE seq > $1 AND seq <= $2 ${ofConsumer} ORDER BY seq LIMIT 1`,
      [after, last, ...(this.consumer === undefined ? [] : [this.consumer])],
    );
    return row ? Number(row.seq) : Infinity;
  }
}
