import { setTimeout as wait } from 'node:timers/promises';
import { formatRequestError, oneUrlOf, print, runCommand } from './command-line.js';

const USAGE = `npm run reconcile -- [options]

  Starts a run of the reconcile loops and prints what they find. A reconcile loop compares the
  rides with the data of the other modules, and sends missing commands again. It skips rides
  that changed less than MESH_RECONCILE_AFTER ago (5 minutes): their messages may still be in
  flight. The application also runs it every MESH_RECONCILE_EVERY.

  --dry-run      prints what is missing, but sends nothing
  --after D      how long ago a ride must have changed last, as an ISO 8601 duration; PT0S
                 examines all rides; default: MESH_RECONCILE_AFTER of the application
  --url U        the application; default: the environment variable MESH_URL, else http://localhost:3000.
                 In production it is the address of MESH_PORT.

  The token of the environment variable MESH_ADMIN_TOKEN is sent along when set.
  The exit code is 0 when the run was completed, otherwise 1.`;

const options = {
  'dry-run': { type: 'boolean', default: false },
  after: { type: 'string' },
  url: { type: 'string' },
} as const;

/** Longest time without a sign of progress before a run counts as lost, in ms. */
const PROGRESS_TIMEOUT_MS = 30_000;

interface ReconciliationRun {
  readonly module: string;
  readonly isRunning: boolean;
  readonly isDryRun: boolean;
  readonly minAgeMs: number;
  readonly startedAt: string;
  readonly finishedAt?: string;
  readonly examined: number;
  readonly skipped: number;
  readonly missing: Record<string, number>;
  readonly sent: number;
  readonly interrupted?: string;
}

async function call(url: string, method: 'GET' | 'POST'): Promise<ReconciliationRun[]> {
  const token = process.env.MESH_ADMIN_TOKEN;
  const response = await fetch(url, { method, headers: token ? { authorization: `Bearer ${token}` } : {} });
  const reply = (await response.json()) as { items?: ReconciliationRun[]; detail?: string; title?: string };
  if (!response.ok) throw new Error(`${response.status}: ${reply.detail ?? reply.title}`);
  return reply.items ?? [];
}

/** Polls, as each answer may come from another replica. @throws Error when no replica reports the run any more */
async function waitForEnd(started: ReconciliationRun, url: string): Promise<ReconciliationRun> {
  for (let seen = performance.now(); performance.now() - seen < PROGRESS_TIMEOUT_MS; await wait(200)) {
    const run = (await call(url, 'GET')).find(({ module }) => module === started.module);
    if (!run || run.startedAt < started.startedAt) continue;
    // A run that started later has examined everything, too.
    if (run.finishedAt) return run;
    if (run.isRunning) seen = performance.now();
  }
  throw new Error(`${started.module}: no process has reported the run for ${PROGRESS_TIMEOUT_MS / 1000} s.`);
}

function printRun({
  module,
  examined,
  skipped,
  minAgeMs,
  missing,
  sent,
  isDryRun,
  interrupted,
}: ReconciliationRun): void {
  const found = Object.entries(missing).map(([what, n]) => `${what} ${n}`);
  print(`${module}: ${examined} examined, missing: ${found.join(', ') || 'nothing'}`);
  if (isDryRun) print('  Dry run: no commands were sent.');
  else if (sent > 0) print(`  Commands sent again: ${sent}`);
  if (skipped > 0) {
    const rides = skipped === 1 ? '1 ride was' : `${skipped} rides were`;
    print(
      `  ${rides} skipped, with a last change in the last ${inWords(minAgeMs)} or, by a wrong clock, in the future: ` +
        'messages may still be in flight. To examine all rides: npm run reconcile -- --after PT0S',
    );
  }
  if (interrupted) print(`  Interrupted: ${interrupted}. The next run continues from there.`);
}

/** "5 minutes" for 300000, "minute" for 60000: in the largest unit that leaves no fraction. */
function inWords(ms: number): string {
  const units = { day: 86_400_000, hour: 3_600_000, minute: 60_000, second: 1000 };
  const [unit, length] = Object.entries(units).find(([, it]) => ms % it === 0) ?? ['second', 1000];
  return ms === length ? unit : `${ms / length} ${unit}s`;
}

await runCommand({ usage: USAGE, options, formatError: formatRequestError }, async (values) => {
  const url = `${oneUrlOf(values.url, 'MESH_URL')}/mesh/reconciliations`;
  const query = new URLSearchParams({ 'dry-run': String(values['dry-run']) });
  if (values.after !== undefined) query.set('after', values.after);
  const runs = await call(`${url}/run?${query}`, 'POST');
  if (runs.length === 0) throw new Error('No module of this application has a reconcile loop.');
  for (const started of runs) {
    const run = await waitForEnd(started, url);
    printRun(run);
    if (run.interrupted) process.exitCode = 1;
  }
});
