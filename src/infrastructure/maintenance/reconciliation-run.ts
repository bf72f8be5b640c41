import type { ReconciliationPage } from './reconciler.js';

/** One run over all subjects of a module. Times in UTC. */
export interface ReconciliationRun {
  readonly module: string;
  readonly isDryRun: boolean;
  readonly startedAt: string;
  readonly finishedAt?: string;
  readonly examined: number;
  /** Discrepancies by kind. */
  readonly missing: Readonly<Record<string, number>>;
  /** Messages that were sent again. */
  readonly sent: number;
  /** Why the run stopped before its end; the next one continues there. */
  readonly interrupted?: string;
}

export function startRun(module: string, isDryRun: boolean): ReconciliationRun {
  return { module, isDryRun, startedAt: new Date().toISOString(), examined: 0, missing: {}, sent: 0 };
}

/** The run after one more page. */
export function addPage(run: ReconciliationRun, { examined, discrepancies }: ReconciliationPage): ReconciliationRun {
  const missing = { ...run.missing };
  for (const { what } of discrepancies) missing[what] = (missing[what] ?? 0) + 1;
  const sent = run.isDryRun ? 0 : discrepancies.length;
  return { ...run, missing, examined: run.examined + examined, sent: run.sent + sent };
}

/** The run that started last. */
export function latestRun(
  one: ReconciliationRun | undefined,
  other: ReconciliationRun | undefined,
): ReconciliationRun | undefined {
  if (!one || !other) return one ?? other;
  return one.startedAt < other.startedAt ? other : one;
}
