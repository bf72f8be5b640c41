import type { Sql } from '../persistence/sql.js';
import { findReconciliation } from '../store/reconciliation-rows.js';
import type { ReconciliationPage } from './reconciler.js';

/** One run over all subjects of a module. Times in UTC. */
export interface ReconciliationRun {
  readonly module: string;
  readonly isDryRun: boolean;
  /** How long ago a subject must have changed last to be examined, in ms. */
  readonly minAgeMs: number;
  /** Whether it also reads the subjects that earlier runs have found whole; absent in runs of older versions. */
  readonly isFull?: boolean;
  readonly startedAt: string;
  readonly finishedAt?: string;
  readonly examined: number;
  /** Subjects that changed too recently. */
  readonly skipped: number;
  /** Discrepancies by kind. */
  readonly missing: Readonly<Record<string, number>>;
  /** Messages that were sent again. */
  readonly sent: number;
  /** Why the run stopped before its end; the next one continues there. */
  readonly interrupted?: string;
}

/** What a run was asked for. */
export type RunSettings = Required<Pick<ReconciliationRun, 'isDryRun' | 'minAgeMs' | 'isFull'>>;

export type RunOptions = Pick<RunSettings, 'isDryRun'> & Partial<RunSettings>;

export function startRun(module: string, settings: RunSettings): ReconciliationRun {
  const startedAt = new Date().toISOString();
  return { module, ...settings, startedAt, examined: 0, skipped: 0, missing: {}, sent: 0 };
}

/** The run after one more page. */
export function addPage(run: ReconciliationRun, page: ReconciliationPage): ReconciliationRun {
  const { examined, skipped = 0, discrepancies } = page;
  const missing = { ...run.missing };
  for (const { what } of discrepancies) missing[what] = (missing[what] ?? 0) + 1;
  const sent = run.isDryRun ? 0 : discrepancies.length;
  return {
    ...run,
    examined: run.examined + examined,
    skipped: run.skipped + skipped,
    missing,
    sent: run.sent + sent,
  };
}

/** What the log says of a run. */
export function factsOf({ module, examined, skipped, missing, sent, isDryRun, isFull }: ReconciliationRun) {
  return { module, examined, skipped, missing, sent, isDryRun, isFull };
}

/** The run that started last. */
export function latestRun(
  one: ReconciliationRun | undefined,
  other: ReconciliationRun | undefined,
): ReconciliationRun | undefined {
  if (!one || !other) return one ?? other;
  return one.startedAt < other.startedAt ? other : one;
}

/** The last run that was stored, by any process. */
export async function lastStoredRun(sql: Sql, module: string): Promise<ReconciliationRun | undefined> {
  const state = await findReconciliation(sql, module);
  return state && (JSON.parse(state.pass) as ReconciliationRun);
}

/**
 * Where a run that isn't dry begins: at the position of an interrupted run, if there is one. A full run doesn't continue a
 * run that has left out subjects.
 */
export async function positionFor(sql: Sql, { module, isFull }: ReconciliationRun): Promise<string | undefined> {
  const state = await findReconciliation(sql, module);
  if (!state || (isFull && !(JSON.parse(state.pass) as ReconciliationRun).isFull)) return undefined;
  return state.position ?? undefined;
}
