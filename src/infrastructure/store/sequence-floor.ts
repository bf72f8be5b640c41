import type { Sql, SqlValue } from '../persistence/sql.js';

/** Pause between two attempts to raise a floor, in ms. */
const RAISE_MS = 1000;

/** A sequence number up to which all rows may be gone, once the transactions that might still add some have ended. */
interface Candidate {
  readonly seq: number;
  /** Transactions that had locked the table for writing: one that got a number up to `seq` is among them, or has ended. */
  readonly writers: readonly string[];
}

/** What the server says of itself and of the table. */
interface Facts {
  readonly started: string;
  readonly cache: string | null;
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
  /** When the server was started, as it says. */
  private started?: string;

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
    if (now - this.raisedAt >= this.raiseMs) {
      this.raisedAt = now;
      await this.raise(sql);
    }
    return this.seq;
  }

  /** Takes note of a row that was read. */
  read(seq: SqlValue): void {
    this.highest = Math.max(this.highest, Number(seq));
  }

  private async raise(sql: Sql): Promise<void> {
    const { highest } = this;
    const { started, cache, writers } = await this.facts(sql);
    if (started !== this.started) this.beginAnew(started);
    // A session with a cache takes numbers before it writes, and a prepared transaction changes its name.
    const isCertain = cache === '1' && !writers.some((it) => it.startsWith('-1/'));
    const { candidate } = this;
    if (highest <= this.seq || this.highest < highest || !isCertain) return;
    if (candidate?.writers.some((it) => writers.includes(it))) return;
    if (candidate) this.seq = Math.max(this.seq, Math.min(candidate.seq, (await this.firstRow(sql)) - 1));
    this.candidate = { seq: highest, writers };
  }

  /** Another server may know less than the last one, after a failover; and no old transaction survives a restart. */
  private beginAnew(started: string): void {
    // At the first look nothing is known of an earlier server.
    if (this.started !== undefined) this.seq = this.highest = 0;
    this.candidate = undefined;
    this.started = started;
  }

  /** A row takes its number after its statement has locked the table, and the lock ends with the transaction. */
  private async facts(sql: Sql): Promise<Facts> {
    const [facts] = await sql.all<Facts>(
      `SELECT pg_postmaster_start_time()::text AS started,
         (SELECT seqcache::text FROM pg_sequence WHERE seqrelid = pg_get_serial_sequence('${this.table}', 'seq')::regclass) AS cache,
         ARRAY(SELECT virtualtransaction FROM pg_locks WHERE locktype = 'relation' AND mode = 'RowExclusiveLock'
               AND relation = '${this.table}'::regclass
               AND database = (SELECT oid FROM pg_database WHERE datname = current_database())) AS writers`,
    );
    return facts!;
  }

  private async firstRow(sql: Sql): Promise<number> {
    const ofConsumer = this.consumer === undefined ? '' : 'AND consumer = $2 AND attempts = 0';
    const [row] = await sql.all<{ seq: SqlValue }>(
      `SELECT seq FROM ${this.table} WHERE seq > $1 ${ofConsumer} ORDER BY seq LIMIT 1`,
      [this.seq, ...(this.consumer === undefined ? [] : [this.consumer])],
    );
    return row ? Number(row.seq) : Infinity;
  }
}
