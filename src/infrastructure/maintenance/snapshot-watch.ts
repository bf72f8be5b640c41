import { Injectable } from '@nestjs/common';
import { Database } from '../persistence/database.js';
import type { OldSnapshot } from '../persistence/old-snapshot.js';
import { MeshLogger } from '../observability/mesh-logger.js';

const INTERVAL_MS = 15_000;
/** How often a transaction is named that goes on, in ms. */
const REPEAT_MS = 5 * 60_000;

/** Looks for old transactions of others, which hold up the clean-up of removed rows, and names them in the log. */
@Injectable()
export class SnapshotWatch {
  private readonly logger = new MeshLogger('Database');
  private timer?: NodeJS.Timeout;
  private named?: { readonly pid?: number; readonly at: number };

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

  private name({ what, pid, ageMs }: OldSnapshot): void {
    if (this.named && this.named.pid === pid && performance.now() - this.named.at < REPEAT_MS) return;
    this.named = { at: performance.now(), ...(pid !== undefined && { pid }) };
    this.logger.warn({ pid, ageMs }, `An old transaction holds up the clean-up of removed rows: ${what}`);
  }
}
