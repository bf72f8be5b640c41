import { setTimeout as wait } from 'node:timers/promises';
import { DATABASE_PAUSE_MS, MESSAGE_UNIT } from '../delivery/consumer.js';
import type { SqlValue } from '../persistence/sql.js';
import type { UnitOfWork } from '../persistence/unit-of-work.js';
import { removeFromOutbox } from '../store/outbox-rows.js';
import type { MeshLogger } from '../observability/mesh-logger.js';

/** How long accepted messages wait for others to be removed with them, in ms. */
const MIN_WINDOW_MS = 25;
const MAX_WINDOW_MS = 100;
/** The share of the time that removals may take: SQLite stops the process for each COMMIT, until the disk has it. */
const SHARE = 0.03;
/** So many accepted messages don't wait for others. */
const MAX_REMOVED = 2000;

/**
 * Removes from the outbox, in batches, the messages that the broker has accepted: each removal is a commit. If the process
 * crashes first, these messages are sent again and the inboxes drop them.
 */
export class Acknowledgements {
  private accepted: SqlValue[] = [];
  private removing?: Promise<void>;
  private isFlushing = false;
  private windowMs = MIN_WINDOW_MS;
  private endWindow: () => void = () => undefined;

  /** @param onRemoved called with removed messages; until then they must not be sent again */
  constructor(
    private readonly work: UnitOfWork,
    private readonly logger: MeshLogger,
    private readonly onRemoved: (seqs: readonly SqlValue[]) => void,
  ) {}

  get isBusy(): boolean {
    return this.removing !== undefined || this.accepted.length > 0;
  }

  add(seq: SqlValue): void {
    this.accepted.push(seq);
    if (this.accepted.length === MAX_REMOVED) this.endWindow();
    void this.begin();
  }

  /** Removes all accepted messages now. Those that can't be removed stay in the outbox. */
  async flush(): Promise<void> {
    this.isFlushing = true;
    this.endWindow();
    await this.removing;
    await this.begin();
    this.isFlushing = false;
  }

  private begin(): Promise<void> {
    this.removing ??= this.remove().finally(() => (this.removing = undefined));
    return this.removing;
  }

  /** Lets messages gather. */
  private window(): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, this.windowMs);
      this.endWindow = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  private async remove(): Promise<void> {
    while (this.accepted.length > 0) {
      if (!this.isFlushing && this.accepted.length < MAX_REMOVED) await this.window();
      const seqs = this.accepted;
      this.accepted = [];
      try {
        const began = performance.now();
        await this.work.run(() => removeFromOutbox(this.work.sql, seqs), MESSAGE_UNIT);
        this.windowMs = Math.min(Math.max((performance.now() - began) / SHARE, MIN_WINDOW_MS), MAX_WINDOW_MS);
        this.onRemoved(seqs);
      } catch (error) {
        this.accepted.push(...seqs);
        if (this.isFlushing) return;
        this.logger.warn({ err: error }, 'Published messages could not be removed from the outbox: trying again');
        await wait(DATABASE_PAUSE_MS);
      }
    }
  }
}
