import type { Sql, SqlValue } from '../persistence/sql.js';
import { waitingUntil, type Delivery } from '../store/delivery-rows.js';
import { findWaiting, listWaiting, type WaitingRow } from '../store/waiting-rows.js';
import type { Consumer } from './consumer.js';

/** Rows that one query reads, so that it is short however many messages wait. */
const PAGE = 1000;
/** Events that are loaded at a time, in bytes, unless it is a single one: a broker's may have a megabyte each. */
const MAX_BYTES = 1024 * 1024;
/** Pause while large events are being handled, in ms. */
const LARGE_PAUSE_MS = 20;
/** Pause between two rounds over all messages that wait for a consumer, in ms. */
const MIN_PAUSE_MS = 5000;
const MAX_PAUSE_MS = 60_000;
/** The share of the time that rounds may take: with many messages their pause grows. */
const SHARE = 0.05;

/**
 * Finds the messages of one consumer that waited for this release: it knows their types, or their grace has ended. Rounds go on
 * while the process runs, because processes of another release may receive such messages now.
 */
export class WaitingMessages {
  /** When the next page is due, on the clock of `performance.now()`. */
  nextAt = 0;
  private after?: WaitingRow;
  /** The last messages that were started, if others had to wait because of their size. */
  private large: readonly SqlValue[] = [];
  /** Time spent in the present round, in ms. */
  private spentMs = 0;

  constructor(private readonly consumer: Consumer) {}

  /** The messages of the next page that are to be started, at most `limit`; those in flight are left out. */
  async nextPage(sql: Sql, limit: number, inFlight: ReadonlyMap<SqlValue, unknown>): Promise<Delivery[]> {
    const began = performance.now();
    if (this.large.some((seq) => inFlight.has(seq))) {
      this.nextAt = began + LARGE_PAUSE_MS;
      return [];
    }
    // Set before the queries, so that an attempt that ends meanwhile can set an earlier time.
    const planned = began + MIN_PAUSE_MS;
    this.nextAt = planned;
    const rows = await listWaiting(sql, this.consumer.name, this.after, PAGE);
    const { types } = this.consumer;
    const ended = waitingUntil(Date.now());
    const isWanted = ({ seq, type, due_at }: WaitingRow) =>
      !inFlight.has(seq) && (!types || types.includes(type) || due_at <= ended);
    const wanted = rows.filter(isWanted);
    const some = wanted.slice(0, limit).map(({ seq }) => seq);
    const found = await findWaiting(sql, some, MAX_BYTES);
    this.large = found.length < some.length ? found.map(({ seq }) => seq) : [];
    const now = performance.now();
    this.spentMs += now - began;
    if (wanted.length > found.length) {
      // The same page again: what is started now is in flight or gone then.
      this.nextAt = now;
    } else if (rows.length === PAGE) {
      this.after = rows.at(-1);
      this.nextAt = now;
    } else {
      const pauseMs = Math.min(Math.max(this.spentMs / SHARE, MIN_PAUSE_MS), MAX_PAUSE_MS);
      if (this.nextAt === planned) this.nextAt = now + pauseMs;
      this.after = undefined;
      this.spentMs = 0;
    }
    return found;
  }
}
