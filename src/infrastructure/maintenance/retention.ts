import { Inject, Injectable, Logger } from '@nestjs/common';
import { UnitOfWork } from '../persistence/unit-of-work.js';
import { DELIVERY_POLICY } from '../delivery/inbox-receiver.js';
import { redeliveryHorizonMs, type DeliveryPolicy } from '../delivery/retry-policy.js';

/** How long the mesh remembers, in ms. */
export interface RetentionPolicy {
  readonly inboxMs: number;
  readonly deadLetterMs: number;
  /** How long after its death a dead letter may be replayed without further ado. */
  readonly replayWindowMs: number;
}

export const RETENTION_POLICY = Symbol('RETENTION_POLICY');

/** Replies to idempotency keys are kept for 24 h. */
const IDEMPOTENCY_MS = 24 * 3_600_000;
/** Rows that one unit of work removes; short, so that nobody waits for the cleaning. */
const BATCH = 500;
const EVERY_MS = 10 * 60_000;

/** Removes what has been kept long enough. */
@Injectable()
export class Retention {
  private readonly logger = new Logger('Retention');
  private timer?: NodeJS.Timeout;
  private sweeping?: Promise<void>;
  private stopped = false;

  constructor(
    private readonly work: UnitOfWork,
    @Inject(RETENTION_POLICY) private readonly policy: RetentionPolicy,
    @Inject(DELIVERY_POLICY) delivery: DeliveryPolicy,
  ) {
    const horizon = redeliveryHorizonMs(delivery) + policy.replayWindowMs;
    if (policy.inboxMs < horizon) {
      const days = (ms: number) => `${(ms / 86_400_000).toFixed(2)} days`;
      throw new Error(
        `The inbox forgets after ${days(policy.inboxMs)}, but a message can come again for ${days(horizon)} ` +
          '(retries, time-outs and the replay window): lengthen MESH_INBOX_RETENTION or shorten MESH_REPLAY_WINDOW',
      );
    }
  }

  start(): void {
    const sweep = () => {
      this.sweeping ??= this.sweep()
        .catch((error: unknown) => this.logger.warn({ err: error }, 'Cleaning up failed; next time'))
        .finally(() => (this.sweeping = undefined));
    };
    sweep();
    this.timer = setInterval(sweep, EVERY_MS);
  }

  async stop(): Promise<void> {
    this.stopped = true;
    clearInterval(this.timer);
    await this.sweeping;
  }

  /**
   * Removes everything that is older than its retention, in small batches.
   * @param at in ms since 1970; now unless told
   */
  async sweep(at?: number): Promise<void> {
    const now = at ?? (await this.now());
    await this.remove('mesh_inbox', 'handled_at', now - this.policy.inboxMs);
    await this.remove('mesh_dead_letter', 'dead_at', now - this.policy.deadLetterMs);
    await this.remove('mesh_idempotency_key', 'created_at', now - IDEMPOTENCY_MS);
  }

  /** What one process forgets is forgotten for all on its database: not by the clock of one that runs ahead. */
  private async now(): Promise<number> {
    const { sql } = this.work;
    if (sql.dialect === 'sqlite') return Date.now();
    const [row] = await sql.all<{ ms: number }>(
      'SELECT (extract(epoch FROM clock_timestamp()) * 1000)::double precision AS ms',
    );
    return Math.floor(row!.ms);
  }

  private async remove(table: string, column: string, before: number): Promise<void> {
    // Both databases know where a row lies without a key.
    const row = this.work.sql.dialect === 'postgres' ? 'ctid' : 'rowid';
    const some = `SELECT ${row} FROM ${table} WHERE ${column} < $1 LIMIT ${BATCH}`;
    const rows = this.work.sql.dialect === 'postgres' ? `${row} = ANY (ARRAY(${some}))` : `${row} IN (${some})`;
    let removed: number;
    let total = 0;
    do {
      removed = await this.work.run(() => this.work.sql.run(`DELETE FROM ${table} WHERE ${rows}`, [before]));
      total += removed;
    } while (removed === BATCH && !this.stopped);
    if (total > 0) this.logger.log({ table, rows: total }, 'Cleaned up');
  }
}
