import { setTimeout as wait } from 'node:timers/promises';
import type { Logger } from '@nestjs/common';
import type { SqlValue } from '../persistence/sql.js';
import type { UnitOfWork } from '../persistence/unit-of-work.js';
import { MESSAGE_UNIT, DATABASE_PAUSE_MS } from '../delivery/delivery-worker.js';
import { removeFromOutbox } from '../store/delivery-rows.js';

/** Removals wait for each other: for so long, in ms, unless so many have come. */
const BATCH_WINDOW_MS = 25;
const MAX_BATCH = 500;

/**
 * Takes what a broker has accepted out of the outbox: all that has come together meanwhile, as each removal is a commit.
 * What the process forgets by dying before is sent again, and known again.
 */
export class Acknowledgements {
  private accepted: SqlValue[] = [];
  private removing?: Promise<void>;
  private isFlushing = false;

  /** @param onRemoved hears what has been removed; until then nobody may send it again */
  constructor(
    private readonly work: UnitOfWork,
    private readonly logger: Logger,
    private readonly onRemoved: (seqs: readonly SqlValue[]) => void,
  ) {}

  get busy(): boolean {
    return this.removing !== undefined || this.accepted.length > 0;
  }

  add(seq: SqlValue): void {
    this.accepted.push(seq);
    void this.begin();
  }

  /** Removes at once what there is, and waits for it; what can't be removed now stays in the outbox. */
  async flush(): Promise<void> {
    this.isFlushing = true;
    await this.removing;
    await this.begin();
    this.isFlushing = false;
  }

  private begin(): Promise<void> {
    this.removing ??= this.remove().finally(() => (this.removing = undefined));
    return this.removing;
  }

  private async remove(): Promise<void> {
    while (this.accepted.length > 0) {
      if (!this.isFlushing && this.accepted.length < MAX_BATCH) await wait(BATCH_WINDOW_MS);
      const seqs = this.accepted;
      this.accepted = [];
      try {
        await this.work.run(() => removeFromOutbox(this.work.sql, seqs), MESSAGE_UNIT);
        this.onRemoved(seqs);
      } catch (error) {
        this.accepted.push(...seqs);
        if (this.isFlushing) return;
        this.logger.warn({ err: error }, 'What was published could not be removed; trying again');
        await wait(DATABASE_PAUSE_MS);
      }
    }
  }
}
