import { randomUUID } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';
import { Inject, Injectable, Logger, type OnModuleInit, type Type } from '@nestjs/common';
import { ModulesContainer } from '@nestjs/core';
import { findMeshFeature } from '../contracts/mesh-feature.js';
import { runInContext, continueTrace } from '../observability/request-context.js';
import { Database } from '../persistence/database.js';
import type { Lock } from '../persistence/lock.js';
import { UnitOfWork } from '../persistence/unit-of-work.js';

export const RECONCILIATION_POLICY = Symbol('RECONCILIATION_POLICY');

export interface ReconciliationPolicy {
  /** From the end of one pass to the next, in ms; 0 for passes that somebody asks for only. */
  readonly everyMs: number;
  /** Things that are looked at in a second, at most. */
  readonly perSecond: number;
}

/** Something that should be there and isn't. */
export interface Discrepancy {
  /** What it is, in a word to count by. */
  readonly what: string;
  /** Whose it is. */
  readonly subject: string;
  /** Sends again what brings it about; inside a unit of work. */
  send(): Promise<unknown>;
}

/** What a look at some things in a row has found. */
export interface ReconciliationPage {
  readonly examined: number;
  /** The position of the last of them; absent behind the last of all. */
  readonly last?: string;
  readonly discrepancies: readonly Discrepancy[];
}

/**
 * Knows the state that a module's things should be in. It compares that with what their owners answer now, whatever has
 * happened before; so a look can be repeated, and so can what it sends.
 */
export interface Reconciler {
  /**
   * Looks at the next things, outside of units of work: owners are asked.
   * @param after a position, in an order that stays as it is
   * @throws Unavailable when an owner can't be asked now
   */
  page(after: string | undefined, limit: number): Promise<ReconciliationPage>;
}

const RECONCILER = Symbol('mesh-reconciler');

/** Marks a provider of a module with `@MeshFeature` as the reconciler of that module. */
export function ModuleReconciler(): (target: Type<Reconciler>) => void {
  return (target) => Reflect.defineMetadata(RECONCILER, true, target);
}

interface FoundReconciler extends Reconciler {
  /** The module of the provider. It is the source of the messages that are sent again. */
  readonly module: string;
}

/** One pass over all things of a module. Times in UTC. */
export interface ReconciliationRun {
  readonly module: string;
  readonly isDryRun: boolean;
  readonly startedAt: string;
  readonly finishedAt?: string;
  readonly examined: number;
  /** What was missing, by its word. */
  readonly missing: Readonly<Record<string, number>>;
  /** Messages that were sent again. */
  readonly sent: number;
  /** Why it stopped before its end; the next pass goes on from there. */
  readonly interrupted?: string;
}

/** Things that are looked at together. */
const BATCH = 50;

interface StoredState {
  readonly position: string | null;
  readonly pass: string;
}

/**
 * The reconcile loop, after that of Kubernetes: it doesn't follow what happens, it looks at what is, and sends again what
 * is missing. For what the outbox can't know of: a database that was restored, rows that somebody deleted, a broker that
 * lost what it had accepted.
 */
@Injectable()
export class Reconciliation implements OnModuleInit {
  private readonly logger = new Logger('Reconciliation');
  private readonly reconcilers = new Map<string, FoundReconciler>();
  private readonly running = new Map<string, { pass: ReconciliationRun; over: Promise<ReconciliationRun> }>();
  /** The last one that ended here, also if it was a dry run or was interrupted. */
  private readonly ended = new Map<string, ReconciliationRun>();
  private readonly locks = new Map<string, Lock>();
  private readonly ending = new AbortController();
  private timer?: NodeJS.Timeout;

  constructor(
    private readonly work: UnitOfWork,
    private readonly database: Database,
    @Inject(RECONCILIATION_POLICY) private readonly policy: ReconciliationPolicy,
    private readonly container: ModulesContainer,
  ) {}

  /** @throws Error for a reconciler outside a module with `@MeshFeature`, or a second one in a module */
  onModuleInit(): void {
    for (const { metatype: nestModule, providers } of this.container.values()) {
      const module = findMeshFeature(nestModule)?.name;
      for (const { instance } of providers.values()) {
        const provider = (instance as object | null | undefined)?.constructor;
        if (!provider || !Reflect.hasMetadata(RECONCILER, provider)) continue;
        if (!module) throw new Error(`${provider.name} is a reconciler outside a module with @MeshFeature`);
        if (this.reconcilers.has(module)) throw new Error(`${module} has two reconcilers: make them one`);
        const reconciler = instance as Reconciler;
        this.reconcilers.set(module, { module, page: (after, limit) => reconciler.page(after, limit) });
        this.locks.set(module, this.database.lock(`mesh_reconciliation ${module}`));
      }
    }
  }

  start(): void {
    if (this.policy.everyMs > 0) this.scheduleNext();
  }

  /** Lets the look that is under way end; the next pass goes on behind it. */
  async stop(): Promise<void> {
    this.ending.abort();
    clearTimeout(this.timer);
    await Promise.allSettled([...this.running.values()].map(({ over }) => over));
  }

  /** The pass under way of each module that has one here, or else the last, whichever process has run it. */
  async runs(): Promise<(ReconciliationRun & { isRunning: boolean })[]> {
    const found: (ReconciliationRun & { isRunning: boolean })[] = [];
    for (const module of this.reconcilers.keys()) {
      const running = this.running.get(module);
      const pass = running?.pass ?? later(this.ended.get(module), await this.lastStoredRun(module));
      if (pass) found.push({ ...pass, isRunning: running !== undefined });
    }
    return found;
  }

  /** Runs a pass of each module that is here, or joins the one that is under way. A dry run sends nothing. */
  run({ isDryRun }: { isDryRun: boolean }): Promise<ReconciliationRun[]> {
    return Promise.all([...this.reconcilers.values()].map((reconciler) => this.runOne(reconciler, isDryRun)));
  }

  private scheduleNext(): void {
    this.timer = setTimeout(() => {
      void this.runDue().finally(() => this.ending.signal.aborted || this.scheduleNext());
    }, this.policy.everyMs);
    this.timer.unref();
  }

  /** A pass of each module that no process on this database has looked at lately. */
  private async runDue(): Promise<void> {
    for (const reconciler of this.reconcilers.values()) {
      if (this.ending.signal.aborted) return;
      const last = await this.lastStoredRun(reconciler.module).catch(() => undefined);
      // Each process counts from the end of its own last pass; the clocks of two may differ.
      const sinceMs = Math.abs(Date.now() - Date.parse(last?.finishedAt ?? ''));
      if (!(sinceMs < this.policy.everyMs / 2)) await this.runOne(reconciler, false);
    }
  }

  private runOne(reconciler: FoundReconciler, isDryRun: boolean): Promise<ReconciliationRun> {
    const { module } = reconciler;
    const underWay = this.running.get(module);
    if (underWay) return underWay.over;
    const pass: ReconciliationRun = { module, isDryRun, startedAt: now(), examined: 0, missing: {}, sent: 0 };
    const journey = { correlationId: `reconcile-${randomUUID()}`, traceparent: continueTrace(undefined), module };
    const over = runInContext(journey, () => this.runPages(reconciler, pass)).finally(() =>
      this.running.delete(module),
    );
    this.running.set(module, { pass, over });
    return over;
  }

  /** It never throws: what went wrong stands in the pass. */
  private async runPages(reconciler: FoundReconciler, begun: ReconciliationRun): Promise<ReconciliationRun> {
    const { module } = reconciler;
    const lock = this.locks.get(module)!;
    let pass = begun;
    let interrupted: string | undefined;
    try {
      // Of several processes one does it; a dry run disturbs nobody.
      if (!begun.isDryRun && !(await lock.held())) throw new Error('Another process is at it');
      let position = begun.isDryRun ? undefined : ((await this.storedState(module))?.position ?? undefined);
      for (;;) {
        const look = await reconciler.page(position, BATCH);
        pass = await this.repair(pass, look);
        this.running.set(module, { ...this.running.get(module)!, pass });
        position = look.last;
        if (position === undefined) break;
        if (this.ending.signal.aborted) throw new Error('The process is ending');
        await wait((1000 * look.examined) / this.policy.perSecond, undefined, { signal: this.ending.signal });
      }
    } catch (error) {
      interrupted = (error as Error).message;
      this.logger.warn({ module, err: error }, 'Interrupted; the next pass goes on from here');
    }
    const ended = { ...pass, finishedAt: now(), ...(interrupted && { interrupted }) };
    if (!begun.isDryRun && !interrupted)
      await this.store(ended, null).catch((error: unknown) => this.storeFailed(error));
    if (!begun.isDryRun) await lock.release();
    this.ended.set(module, ended);
    const { examined, missing, sent } = ended;
    this.logger.log({ module, examined, missing, sent, isDryRun: begun.isDryRun }, 'Reconciled');
    return ended;
  }

  /** Sends what is missing and notes how far that was, in one unit of work: a crash repeats a look at most. */
  private async repair(
    pass: ReconciliationRun,
    { examined, discrepancies, last }: ReconciliationPage,
  ): Promise<ReconciliationRun> {
    const missing = { ...pass.missing };
    for (const { what } of discrepancies) missing[what] = (missing[what] ?? 0) + 1;
    const sent = pass.isDryRun ? 0 : discrepancies.length;
    const after = { ...pass, missing, examined: pass.examined + examined, sent: pass.sent + sent };
    if (pass.isDryRun) return after;
    await this.work.run(async () => {
      for (const lack of discrepancies) await lack.send();
      await this.storeInUnit(after, last ?? null);
    });
    return after;
  }

  private async storedState(module: string): Promise<StoredState | undefined> {
    const [row] = await this.work.sql.all<StoredState>(
      'SELECT position, pass FROM mesh_reconciliation WHERE module = $1',
      [module],
    );
    return row;
  }

  private async lastStoredRun(module: string): Promise<ReconciliationRun | undefined> {
    const kept = await this.storedState(module);
    return kept && (JSON.parse(kept.pass) as ReconciliationRun);
  }

  private store(pass: ReconciliationRun, position: string | null): Promise<unknown> {
    return this.work.run(() => this.storeInUnit(pass, position));
  }

  private storeInUnit(pass: ReconciliationRun, position: string | null): Promise<number> {
    return this.work.sql.run(
      `INSERT INTO mesh_reconciliation (module, position, pass) VALUES ($1, $2, $3)
       ON CONFLICT (module) DO UPDATE SET position = excluded.position, pass = excluded.pass`,
      [pass.module, position, JSON.stringify(pass)],
    );
  }

  private storeFailed(error: unknown): void {
    this.logger.warn({ err: error }, 'The end of a pass could not be noted; the next one begins where it ended');
  }
}

function later(
  one: ReconciliationRun | undefined,
  other: ReconciliationRun | undefined,
): ReconciliationRun | undefined {
  if (!one || !other) return one ?? other;
  return one.startedAt < other.startedAt ? other : one;
}

function now(): string {
  return new Date().toISOString();
}
