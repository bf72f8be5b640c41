import { Inject, Injectable, type OnModuleInit } from '@nestjs/common';
import { ModulesContainer } from '@nestjs/core';
import { DELIVERY_POLICY } from '../delivery/inbox-receiver.js';
import type { DeliveryPolicy } from '../contracts/retry-policy.js';
import { UnitOfWork } from '../persistence/unit-of-work.js';
import {
  databaseTime,
  deleteExpired,
  RETENTION_POLICY,
  type ExpiredRows,
  type RetentionPolicy,
} from '../store/expired-rows.js';
import { MeshLogger } from '../observability/mesh-logger.js';
import { inboxProblem, type InboxSettings } from './inbox-retention.js';
import { findRowRetentions } from './row-retention.js';

/** How long the reply to an idempotency key is kept, in ms. */
const IDEMPOTENCY_MS = 24 * 3_600_000;
/** Rows that one unit of work removes: few, so that no other unit waits for the clean-up. */
const BATCH = 500;
const INTERVAL_MS = 10 * 60_000;
const OPTIONS: InboxSettings = {
  replayWindow: 'retention.replayWindowMs',
  retry: 'delivery.retry',
  unknownTypeGrace: 'delivery.unknownTypeGraceMs',
};

/** Removes rows whose retention has ended: those of the mesh, and those that the modules name. */
@Injectable()
export class Retention implements OnModuleInit {
  private readonly logger = new MeshLogger('Retention');
  private timer?: NodeJS.Timeout;
  private sweeping?: Promise<void>;
  private isStopped = false;
  private ofModules: ReturnType<typeof findRowRetentions> = [];

  /** @throws Error when an inbox would forget messages that can still be delivered again */
  constructor(
    private readonly work: UnitOfWork,
    @Inject(RETENTION_POLICY) private readonly policy: RetentionPolicy,
    @Inject(DELIVERY_POLICY) delivery: DeliveryPolicy,
    private readonly container: ModulesContainer,
  ) {
    const problem = inboxProblem(policy, delivery, OPTIONS);
    if (problem) throw new Error(`The option retention.inboxMs: ${problem}`);
  }

  onModuleInit(): void {
    this.ofModules = findRowRetentions(this.container);
  }

  start(): void {
    const sweep = () => {
      this.sweeping ??= this.sweep()
        .catch((error: unknown) => this.logger.warn({ err: error }, 'The clean-up failed and will be repeated'))
        .finally(() => (this.sweeping = undefined));
    };
    sweep();
    this.timer = setInterval(sweep, INTERVAL_MS);
  }

  async stop(): Promise<void> {
    this.isStopped = true;
    clearInterval(this.timer);
    await this.sweeping;
  }

  /**
   * Removes all rows that are older than their retention, in small batches.
   * @param at in ms since 1970; by default the time of the database, which all processes share
   */
  async sweep(at?: number): Promise<void> {
    const now = at ?? (await databaseTime(this.work.sql));
    const older = (table: string, column: string, retentionMs: number) =>
      this.remove({ table, where: `${column} < $1`, parameters: [now - retentionMs] });
    await older('mesh_inbox', 'handled_at', this.policy.inboxMs);
    await older('mesh_dead_letter', 'dead_at', this.policy.deadLetterMs);
    await older('mesh_idempotency_key', 'created_at', IDEMPOTENCY_MS);
    await older('mesh_journal', 'handled_at', this.policy.journalMs);
    await this.sweepModules(now);
  }

  /** A module whose rows can't be removed doesn't keep the others from it. @throws the first error, at the end */
  private async sweepModules(now: number): Promise<void> {
    const errors: unknown[] = [];
    for (const { instance, module } of this.ofModules) {
      try {
        for (const rows of instance.expired(now)) await this.remove(rows);
      } catch (error) {
        errors.push(new Error(`Rows of ${module} could not be removed`, { cause: error }));
      }
    }
    if (errors.length > 0) throw errors[0];
  }

  private async remove(rows: ExpiredRows): Promise<void> {
    let removed: number;
    let total = 0;
    do {
      removed = await this.work.run(() => deleteExpired(this.work.sql, rows, BATCH));
      total += removed;
    } while (removed === BATCH && !this.isStopped);
    if (total > 0) this.logger.log({ table: rows.table, rows: total }, 'Cleaned up');
  }
}
