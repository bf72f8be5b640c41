import { randomUUID } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';
import { Inject, Injectable, type OnModuleInit } from '@nestjs/common';
import { ModulesContainer } from '@nestjs/core';
import { Conflict } from '../contracts/domain-errors.js';
import { errorMessage } from '../observability/error-message.js';
import { RECONCILIATION } from '../observability/telemetry.js';
import { continueTrace, runInContext } from '../observability/request-context.js';
import { Database } from '../persistence/database.js';
import type { Lock } from '../persistence/lock.js';
import { UnitOfWork } from '../persistence/unit-of-work.js';
import { storeReconciliation } from '../store/reconciliation-rows.js';
import { findReconcilers, type Reconciler, type ReconciliationPage } from './reconciler.js';
import {
  addPage,
  factsOf,
  lastStoredRun,
  latestRun,
  positionFor,
  startRun,
  type ReconciliationRun,
  type RunOptions,
  type RunSettings,
} from './reconciliation-run.js';
import { MeshLogger } from '../observability/mesh-logger.js';

/** The injection token of `ReconciliationPolicy`. */
export const RECONCILIATION_POLICY = Symbol('RECONCILIATION_POLICY');

export interface ReconciliationPolicy {
  /** Pause from the end of one run to the start of the next, in ms; 0 for runs on request only. */
  readonly everyMs: number;
  /** How long ago a subject must have changed last to be examined, in ms: its messages may still be in flight. */
  readonly afterMs: number;
  /** Subjects examined in a second, at most. */
  readonly perSecond: number;
}

/** When a process first looks whether a run is due, in ms after its start. */
const FIRST_MS = 1000;
/** Subjects of one page. */
const PAGE_SIZE = 50;

/**
 * A reconcile loop, as in Kubernetes: it compares the state that should exist with the state that does, and sends messages
 * again. It repairs what an outbox can't detect: a restored database, deleted rows, a broker that lost messages.
 */
@Injectable()
export class Reconciliation implements OnModuleInit {
  private readonly logger = new MeshLogger('Reconciliation');
  private reconcilers = new Map<string, Reconciler>();
  private readonly locks = new Map<string, Lock>();
  private readonly running = new Map<string, { run: ReconciliationRun; ended: Promise<ReconciliationRun> }>();
  /** The last run of each module in this process, dry and interrupted runs included. */
  private readonly lastRuns = new Map<string, ReconciliationRun>();
  private readonly stopping = new AbortController();
  private timer?: NodeJS.Timeout;

  constructor(
    private readonly work: UnitOfWork,
    private readonly database: Database,
    @Inject(RECONCILIATION_POLICY) private readonly policy: ReconciliationPolicy,
    private readonly container: ModulesContainer,
  ) {}

  onModuleInit(): void {
    this.reconcilers = findReconcilers(this.container);
    for (const module of this.reconcilers.keys())
      this.locks.set(module, this.database.lock(`mesh_reconciliation ${module}`));
  }

  start(): void {
    const { everyMs } = this.policy;
    // A process may live shorter than the pause: what is due since an earlier one runs soon.
    if (everyMs > 0) this.scheduleNext(Math.min(everyMs, FIRST_MS), everyMs);
  }

  /** Waits for the current page; the next run continues after it. */
  async stop(): Promise<void> {
    this.stopping.abort();
    clearTimeout(this.timer);
    await Promise.allSettled([...this.running.values()].map(({ ended }) => ended));
  }

  /** The current run of each module, or the last one of any process. */
  async runs(): Promise<(ReconciliationRun & { isRunning: boolean })[]> {
    const found: (ReconciliationRun & { isRunning: boolean })[] = [];
    for (const module of this.reconcilers.keys()) {
      const current = this.running.get(module);
      const run = current?.run ?? latestRun(this.lastRuns.get(module), await lastStoredRun(this.work.sql, module));
      if (run) found.push({ ...run, isRunning: current !== undefined });
    }
    return found;
  }

  /**
   * Runs all reconcilers of this process; joins runs that are in progress. A dry run sends nothing.
   * @param options `minAgeMs`: how long ago a subject must have changed last to be examined; default: `afterMs` of the policy.
   *   `isFull`: read also the subjects that earlier runs have found whole
   * @returns the runs when they have ended
   * @throws Conflict at once, and nothing was started, when a run with other options is in progress
   */
  run({ isDryRun, minAgeMs = this.policy.afterMs, isFull = false }: RunOptions): Promise<ReconciliationRun[]> {
    const settings = { isDryRun, minAgeMs, isFull };
    for (const { run } of this.running.values()) {
      if (run.isDryRun !== isDryRun || run.minAgeMs !== minAgeMs || run.isFull !== isFull)
        throw new Conflict('A run with other options is in progress: start this one when it has ended');
    }
    return Promise.all([...this.reconcilers.keys()].map((module) => this.runModule(module, settings)));
  }

  private scheduleNext(inMs: number, minSinceMs: number): void {
    const { everyMs } = this.policy;
    this.timer = setTimeout(() => {
      // Half, because the timers of several processes are not equal.
      void this.runDue(minSinceMs).finally(
        () => this.stopping.signal.aborted || this.scheduleNext(everyMs, everyMs / 2),
      );
    }, inMs);
    this.timer.unref();
  }

  /** Runs the reconcilers that no process on this database has run lately. */
  private async runDue(minSinceMs: number): Promise<void> {
    for (const module of this.reconcilers.keys()) {
      if (this.stopping.signal.aborted) return;
      const last = await lastStoredRun(this.work.sql, module).catch(() => undefined);
      // The last run may be another process's, whose clock differs.
      const sinceMs = Math.abs(Date.now() - Date.parse(last?.finishedAt ?? ''));
      const settings = { isDryRun: false, minAgeMs: this.policy.afterMs, isFull: false };
      if (!(sinceMs < minSinceMs)) await this.runModule(module, settings);
    }
  }

  private runModule(module: string, settings: RunSettings): Promise<ReconciliationRun> {
    const current = this.running.get(module);
    if (current) return current.ended;
    const run = startRun(module, settings);
    const context = { correlationId: `reconcile-${randomUUID()}`, traceparent: continueTrace(), module };
    const ended = runInContext(context, () => this.runPages(run)).finally(() => this.running.delete(module));
    this.running.set(module, { run, ended });
    return ended;
  }

  /** Never throws: `interrupted` tells what went wrong. */
  private async runPages(started: ReconciliationRun): Promise<ReconciliationRun> {
    const { module, isDryRun, minAgeMs, isFull = false } = started;
    const lock = this.locks.get(module)!;
    let run = started;
    let interrupted: string | undefined;
    try {
      if (!isDryRun && !(await lock.acquire())) throw new Error('Another process is reconciling this module');
      let position = isDryRun ? undefined : await positionFor(this.work.sql, started);
      do {
        const page = await this.reconcilers.get(module)!.page(position, PAGE_SIZE, minAgeMs, isFull);
        run = await this.repair(run, page);
        this.running.set(module, { ...this.running.get(module)!, run });
        position = page.last;
        if (position !== undefined) await this.pace();
      } while (position !== undefined);
    } catch (error) {
      interrupted = errorMessage(error);
      this.logger.warn({ module, err: error }, 'Interrupted: the next run continues here');
    }
    const ended = { ...run, finishedAt: new Date().toISOString(), ...(interrupted && { interrupted }) };
    if (!isDryRun && !interrupted) await this.store(ended);
    if (!isDryRun) await lock.release();
    this.lastRuns.set(module, ended);
    RECONCILIATION.publish(ended);
    this.logger.log(factsOf(ended), interrupted ? 'Ended early' : 'Reconciled');
    return ended;
  }

  /** @throws Error when the process stops */
  private async pace(): Promise<void> {
    const { signal } = this.stopping;
    if (signal.aborted) throw new Error('The process is stopping');
    await wait((1000 * PAGE_SIZE) / this.policy.perSecond, undefined, { signal });
  }

  /** Sends what is missing and stores the position, in one unit of work: after a crash, one page is repeated at most. */
  private async repair(run: ReconciliationRun, page: ReconciliationPage): Promise<ReconciliationRun> {
    const after = addPage(run, page);
    if (run.isDryRun) return after;
    await this.work.run(async () => {
      for (const discrepancy of page.discrepancies) await discrepancy.send();
      await page.remember?.();
      await storeReconciliation(this.work.sql, run.module, after, page.last ?? null);
    });
    return after;
  }

  private async store(run: ReconciliationRun): Promise<void> {
    try {
      await this.work.run(() => storeReconciliation(this.work.sql, run.module, run, null));
    } catch (error) {
      this.logger.warn({ err: error }, 'The end of a run could not be stored: the next run starts after its last page');
    }
  }
}
