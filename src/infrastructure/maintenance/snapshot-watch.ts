import { Injectable, Logger } from '@nestjs/common';
import { Database } from '../persistence/database.js';
import type { OldSnapshot } from '../persistence/old-snapshot.js';

const INTERVAL_MS = 15_000;
/** How often a transaction is named that goes on, in ms. */
const REPEAT_MS = 5 * 60_000;

/** Looks for old transactions of others, which hold up the clean-up of removed rows, and names them in the log. */
@Injectable()
export class SnapshotWatch {
  private readonly logger = new Logger('Database');
  private timer?: NodeJS.Timeout;
  private namedAt = -Infinity;

  constructor(private readonly database: Database) {}

  start(): void {
    const look = () =>
      this.look().catch((error: unknown) => this.logger.debug({ err: error }, 'Old transactions cannot be looked up'));
    this.timer = setInterval(() => void look(), INTERVAL_MS);
  }

  stop(): void {
    clearInterval(this.timer);
  }

  /** The oldest transaction of another process, when it is old. */
  async look(): Promise<OldSnapshot | undefined> {
    const found = await this.database.oldSnapshot();
    if (found) this.name(found);
    return found;
  }

  private name({ what, ...facts }: OldSnapshot): void {
    if (performance.now() - this.namedAt < REPEAT_MS) return;
    this.namedAt = performance.now();
    this.logger.warn(facts, `An old transaction holds up the clean-up of removed rows: ${what}. End it`);
  }
}
