import type { ReconciliationPage } from './reconciler.js';

/** One run over all subjects of a module. Times in UTC. */
export interface ReconciliationRun {
  readonly module: string;
  readonly isDryRun: boolean;
  /** How long ago a subject must have changed last to be examined, in ms. */
  readonly minAgeMs: number;
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

export function startRun(module: string, isDryRun: boolean, minAgeMs: number): ReconciliationRun {
  const startedAt = new Date().toISOString();
  return { module, isDryRun, minAgeMs, startedAt, examined: 0, skipped: 0, missing: {}, sent: 0 };
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
export function factsOf({ module, examined, skipped, missing, sent, isDryRun }: ReconciliationRun) {
  return { module, examined, skipped, missing, sent, isDryRun };
}

/** The run that started last. */
export function latestRun(
  one: ReconciliationRun | undefined,
  other: ReconciliationRun | undefined,
): ReconciliationRun | undefined {
  if (!one || !other) return one ?? other;
  return one.startedAt < other.startedAt ? other : one;
}
