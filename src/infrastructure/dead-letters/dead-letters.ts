import { setTimeout as wait } from 'node:timers/promises';
import { Inject, Injectable } from '@nestjs/common';
import { Conflict } from '../contracts/domain-errors.js';
import { MAX_TOTAL } from '../contracts/schemas.js';
import { Relay } from '../outbox/relay.js';
import { firstLine } from '../observability/format-error.js';
import { DatabaseUnavailable } from '../persistence/sql.js';
import { UnitOfWork } from '../persistence/unit-of-work.js';
import { RETENTION_POLICY, type RetentionPolicy } from '../store/expired-rows.js';
import {
  deadLetter,
  deadLetterCause,
  listedDeadLetter,
  type DeadLetter,
  type DeadLetterCause,
  type ListedDeadLetter,
} from './dead-letter.js';
import { RequeueTargets } from './requeue-targets.js';
import { addSkipped, MAX_IDS, type ReplayReport, type SkippedDeadLetters } from './replay-report.js';
import {
  countDeadLetters,
  findDeadLetter,
  groupDeadLetters,
  listDeadLetters,
  oldestDeadLetters,
  type DeadLetterFilter,
} from '../store/dead-letter-queries.js';
import { deleteDeadLetter, requeueDeadLetter, type DeadLetterHead } from '../store/dead-letter-rows.js';

/** Dead letters that one unit of work requeues, at most; halved when their unit fails. */
const BATCH = 100;
/** Bytes of the events that one unit of work requeues, at most, unless it is a single one. */
const BATCH_BYTES = 4 * 1024 * 1024;
/** A replay waits while messages are older than this, in ms: requests of users would be refused. */
const MAX_AGE_MS = 300;

/** The dead letters: kept until an operator requeues or discards them, or their retention ends. */
@Injectable()
export class DeadLetters {
  constructor(
    private readonly work: UnitOfWork,
    private readonly relay: Relay,
    private readonly targets: RequeueTargets,
    @Inject(RETENTION_POLICY) private readonly policy: RetentionPolicy,
  ) {}

  /** The latest first, without their events. */
  async list(filter: DeadLetterFilter, page: { limit: number; offset: number }): Promise<ListedDeadLetter[]> {
    return (await listDeadLetters(this.work.sql, filter, page)).map(listedDeadLetter);
  }

  /** How many match, up to MAX_TOTAL. */
  count(filter: DeadLetterFilter): Promise<number> {
    return countDeadLetters(this.work.sql, filter, { max: MAX_TOTAL });
  }

  /** How many of the latest MAX_TOTAL failed for each cause, the most frequent first. */
  async causes(filter: DeadLetterFilter): Promise<DeadLetterCause[]> {
    const groups = await groupDeadLetters(this.work.sql, filter, MAX_TOTAL);
    return groups.map(deadLetterCause);
  }

  async find(id: string): Promise<DeadLetter | undefined> {
    const row = await findDeadLetter(this.work.sql, id);
    return row && deadLetter(row);
  }

  /**
   * Gives a dead letter back to the consumer that failed, with its event id.
   * @param force also when it is older than the replay window
   * @returns false when there is no such dead letter
   * @throws Conflict when it is too old, or no consumer or no address of a consumer is known for it
   */
  async requeue(id: string, force: boolean): Promise<boolean> {
    const row = await findDeadLetter(this.work.sql, id);
    if (!row) return false;
    if (!force && row.dead_at < this.windowStart()) throw new Conflict(TOO_OLD);
    const [outcome] = await this.requeueEach([row]);
    if (outcome?.reason !== undefined) throw new Conflict(outcome.reason);
    return outcome?.isRequeued ?? false;
  }

  /**
   * Requeues all that match and are inside the replay window. What can't be requeued stays where it is.
   * @param force also those that are older than the replay window
   */
  async requeueAll(filter: DeadLetterFilter, force: boolean): Promise<ReplayReport> {
    // Only those that are dead now: a message that fails again meanwhile waits for the next call.
    const [from, until] = [force ? 0 : this.windowStart(), Date.now()];
    let replayed = 0;
    let skipped: readonly SkippedDeadLetters[] = force ? [] : await this.tooOld(filter, from);
    for (let after: DeadLetterHead | undefined, limit = BATCH; ;) {
      const found = await oldestDeadLetters(this.work.sql, filter, { from, until }, limit, after);
      const rows = withinSize(found);
      const outcomes = await this.requeueEach(rows).catch((error: unknown) => {
        if (error instanceof DatabaseUnavailable) throw error;
        return limit === 1 ? [{ id: rows[0]!.id, isRequeued: false, reason: firstLine(error) }] : undefined;
      });
      if (!outcomes) {
        // Large events may need more time than a unit has, or one of them can't be written.
        limit = Math.ceil(limit / 2);
        continue;
      }
      for (const { id, isRequeued, reason } of outcomes) {
        if (isRequeued) replayed++;
        if (reason !== undefined) skipped = addSkipped(skipped, { reason, count: 1, ids: [id] });
      }
      if (rows.length === found.length && found.length < limit) return { replayed, skipped };
      after = rows.at(-1);
      limit = Math.min(BATCH, limit * 2);
      while (this.relay.backlogAgeMs > MAX_AGE_MS) await wait(50);
    }
  }

  /** @returns false when there is no such dead letter */
  async discard(id: string): Promise<boolean> {
    return this.work.run(() => deleteDeadLetter(this.work.sql, id));
  }

  /** In ms since 1970. */
  private windowStart(): number {
    return Date.now() - this.policy.replayWindowMs;
  }

  /** The dead letters that match and died before `from` (ms since 1970). */
  private async tooOld(filter: DeadLetterFilter, from: number): Promise<SkippedDeadLetters[]> {
    const between = { from: 0, until: from - 1 };
    const count = await countDeadLetters(this.work.sql, filter, { between });
    if (count === 0) return [];
    const first = await oldestDeadLetters(this.work.sql, filter, between, MAX_IDS);
    return [{ reason: TOO_OLD, count, ids: first.map(({ id }) => id) }];
  }

  /** Requeues dead letters in one unit of work. */
  private async requeueEach(rows: readonly DeadLetterHead[]): Promise<Outcome[]> {
    const consumers = new Set<string>();
    const outcomes = await this.work.run(async () => {
      const ended: Outcome[] = [];
      for (const row of rows) {
        const { reason, targets } = this.targets.of(row);
        const isRequeued = targets !== undefined && (await requeueDeadLetter(this.work.sql, row.id, targets));
        for (const consumer of targets ?? []) consumers.add(consumer);
        ended.push({ id: row.id, isRequeued, ...(reason !== undefined && { reason }) });
      }
      return ended;
    });
    for (const consumer of consumers) this.relay.wakeConsumer(consumer);
    this.relay.wake();
    return outcomes;
  }
}

/** The first dead letters that one unit of work can requeue. */
function withinSize<Sized extends { readonly size: number }>(found: readonly Sized[]): readonly Sized[] {
  let bytes = 0;
  const end = found.findIndex(({ size }, index) => (bytes += size) > BATCH_BYTES && index > 0);
  return end < 0 ? found : found.slice(0, end);
}

/** What became of one dead letter; `reason` when it can't be requeued. */
interface Outcome {
  readonly id: string;
  readonly isRequeued: boolean;
  readonly reason?: string;
}

const TOO_OLD =
  'Older than the replay window (option retention.replayWindowMs), so the inbox may have forgotten the event: if the consumer is ' +
  'idempotent by a business key, replay it with force=true';
