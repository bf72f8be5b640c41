import { useState } from 'preact/hooks';
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
      const parameters = { 'dry-run': isDryRun ? 'true' : undefined, after: isFresh ? 'PT0S' : undefined };
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
        </div>
      )}
      <Problem error={error} reload={reload} />
      <section class="card scroll">
        <table>
          <caption>The current run of each module, or the last one</caption>
          <thead>
            <tr>
              <th scope="col">Module</th>
              <th scope="col">State</th>
              <th scope="col">Started</th>
              <th scope="col" class="number">
                Took
              </th>
              <th scope="col" class="number">
                Examined
              </th>
              <th scope="col" class="number">
                Too recent
              </th>
              <th scope="col">Discrepancies</th>
              <th scope="col" class="number">
                Repairs sent
              </th>
            </tr>
          </thead>
          <tbody>
            {runs.map((it) => (
              <Run key={it.module} run={it} />
            ))}
          </tbody>
        </table>
        {answer && runs.length === 0 && <p class="muted">No run yet.</p>}
      </section>
    </>
  );
}

function Run({ run }: { run: ReconciliationRun }) {
  const { module, isDryRun, startedAt, finishedAt, examined, skipped, missing, sent } = run;
  const kinds = Object.entries(missing);
  return (
    <tr>
      <th scope="row">{module}</th>
      <td>
        <State run={run} /> {isDryRun && <span class="tag">dry run</span>}
      </td>
      <td>{time(startedAt)}</td>
      <td class="number">{finishedAt ? duration(Date.parse(finishedAt) - Date.parse(startedAt)) : '–'}</td>
      <td class="number">{count(examined)}</td>
      <td class="number">{count(skipped)}</td>
      <td>
        {kinds.length === 0 ? (
          'none'
        ) : (
          <ul class="plain">
            {kinds.map(([what, n]) => (
              <li key={what} class="late">
                ▲ {count(n)} × {what}
              </li>
            ))}
          </ul>
        )}
      </td>
      <td class="number">{count(sent)}</td>
    </tr>
  );
}

function State({ run: { isRunning, interrupted } }: { run: ReconciliationRun }) {
  if (isRunning) return <span>↻ running</span>;
  if (interrupted) return <span class="bad">✕ interrupted: {interrupted}</span>;
  return <span class="good">✓ completed</span>;
}
