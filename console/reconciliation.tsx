import { useState } from 'preact/hooks';
import { DataTable, type Column } from './data-table';
import { count, duration, time } from './format';
import { live } from './live';
import type { ReconciliationRun } from './mesh-types';
import { attempt } from './notices';
import { call, pathOf } from './server';
import { useAnswer } from './use-answer';
import { useSession } from './use-session';
import { useValue } from './value';
import { Problem } from './waiting';

/** How long after the start of a run the list is read each second, in ms: a run may not have begun yet. */
const LIVELY_MS = 10_000;

export function Reconciliation() {
  const [isFresh, setFresh] = useState(true);
  const [isFull, setFull] = useState(false);
  const [startedAt, setStartedAt] = useState(0);
  const [isRunning, setRunning] = useState(false);
  const now = useValue(live).seconds.at(-1)?.at ?? 0;
  const isLively = isRunning || now - startedAt < LIVELY_MS;
  const { answer, error, reload } = useAnswer<{ items: ReconciliationRun[] }>(
    '/mesh/reconciliations',
    isLively ? now : startedAt,
  );
  const runs = answer?.items ?? [];
  if (runs.some((it) => it.isRunning) !== isRunning) setRunning(!isRunning);
  const mayChange = useSession().role === 'administrator';

  const run = (isDryRun: boolean) =>
    attempt(async () => {
      const parameters = {
        'dry-run': isDryRun ? 'true' : undefined,
        after: isFresh ? 'PT0S' : undefined,
        full: isFull ? 'true' : undefined,
      };
      await call('POST', pathOf('/mesh/reconciliations/run', parameters));
      setStartedAt(Date.now());
      return isDryRun ? 'A dry run has started. It only counts what is missing.' : 'A run has started.';
    });

  return (
    <>
      <h1>Reconciliation</h1>
      <p class="muted">
        A run compares the state that should exist with the state that does, and sends missing messages again.
      </p>
      {mayChange && (
        <div class="row" role="group" aria-label="Start a run">
          <button type="button" class="primary" onClick={() => run(false)}>
            Run now
          </button>
          <button type="button" onClick={() => run(true)}>
            Dry run
          </button>
          <label>
            <input type="checkbox" checked={isFresh} onChange={(event) => setFresh(event.currentTarget.checked)} />
            Also what changed a moment ago
          </label>
          <label>
            <input type="checkbox" checked={isFull} onChange={(event) => setFull(event.currentTarget.checked)} />
            Also what earlier runs found in order
          </label>
        </div>
      )}
      <Problem error={error} reload={reload} />
      <section class="card">
        <DataTable
          caption="The current run of each module, or the last one"
          rows={runs}
          keyOf={keyOf}
          columns={COLUMNS}
        />
        {answer && runs.length === 0 && <p class="muted">No run yet.</p>}
      </section>
    </>
  );
}

const keyOf = ({ module }: ReconciliationRun) => module;

const COLUMNS: readonly Column<ReconciliationRun>[] = [
  { title: 'Module', cell: ({ module }) => module },
  { title: 'State', isLong: true, cell: (run) => <State run={run} /> },
  { title: 'Started', cell: ({ startedAt }) => time(startedAt) },
  {
    title: 'Took',
    isNumber: true,
    cell: ({ startedAt, finishedAt }) => (finishedAt ? duration(Date.parse(finishedAt) - Date.parse(startedAt)) : '–'),
  },
  { title: 'Examined', isNumber: true, cell: ({ examined }) => count(examined) },
  { title: 'Too recent', isNumber: true, cell: ({ skipped }) => count(skipped) },
  { title: 'Discrepancies', cell: ({ missing }) => <Discrepancies missing={missing} /> },
  { title: 'Repairs sent', isNumber: true, cell: ({ sent }) => count(sent) },
];

function Discrepancies({ missing }: Pick<ReconciliationRun, 'missing'>) {
  const kinds = Object.entries(missing);
  if (kinds.length === 0) return <>none</>;
  return (
    <ul class="plain">
      {kinds.map(([what, n]) => (
        <li key={what} class="late">
          ▲ {count(n)} × {what}
        </li>
      ))}
    </ul>
  );
}

function State({ run }: { run: ReconciliationRun }) {
  const { isRunning, interrupted, isDryRun, isFull } = run;
  return (
    <>
      {isRunning ? (
        '↻ running'
      ) : interrupted ? (
        <span class="bad">✕ interrupted: {interrupted}</span>
      ) : (
        <span class="good">✓ completed</span>
      )}{' '}
      {isDryRun && <span class="tag">dry run</span>} {isFull && <span class="tag">full</span>}
    </>
  );
}
