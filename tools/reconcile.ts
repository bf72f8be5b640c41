import { setTimeout as wait } from 'node:timers/promises';
import { formatRequestError, oneUrlOf, print, runCommand, type Call } from './command-line.js';

const usage = (program: string) => `${program} [options]

  Starts a run of the reconcile loops and prints what they find. A reconcile loop compares the
  objects of its module with the data of the other modules, and sends missing commands again. It
  skips what changed a short time ago (5 minutes, unless the application says otherwise): its
  messages may still be in flight. An application may also run it by itself, in intervals.

  --dry-run      prints what is missing, but sends nothing
  --after D      how long ago an object must have changed last, as an ISO 8601 duration; PT0S
                 examines all; default: as the application has it
  --full         examines also what earlier runs have found in order. Without it a run reads the
                 latest objects, and those that are new or were not in order; after a backup of a
                 module was restored, that finds its lost rows
  --url U        the application; default: the environment variable MESH_URL, else http://localhost:3000
                 or the port of PORT.
                 In production it is the address of MESH_PORT.

  The token of the environment variable MESH_ADMIN_TOKEN is sent along when set.
  The exit code is 0 when the run was completed, otherwise 1.`;

const options = {
  'dry-run': { type: 'boolean', default: false },
  after: { type: 'string' },
  full: { type: 'boolean', default: false },
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

function printRun(run: ReconciliationRun, program: string): void {
  const { module, examined, skipped, minAgeMs, missing, sent, isDryRun, interrupted } = run;
  const found = Object.entries(missing).map(([what, n]) => `${what} ${n}`);
  print(`${module}: ${examined} examined, missing: ${found.join(', ') || 'nothing'}`);
  if (isDryRun) print('  Dry run: no commands were sent.');
  else if (sent > 0) print(`  Commands sent again: ${sent}`);
  if (skipped > 0) {
    const were = skipped === 1 ? 'was' : 'were';
    print(
      `  ${skipped} ${were} skipped, with a last change in the last ${inWords(minAgeMs)} or, by a wrong clock, in the ` +
        `future: messages may still be in flight. To examine all: ${program} --after PT0S`,
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

/** `meshy reconcile` */
export function reconcile({ program, args }: Call): Promise<void> {
  const commandLine = { usage: usage(program), options, formatError: formatRequestError };
  return runCommand(
    commandLine,
    async (values) => {
      const url = `${oneUrlOf(values.url, 'MESH_URL')}/mesh/reconciliations`;
      const query = new URLSearchParams({ 'dry-run': String(values['dry-run']) });
      if (values.after !== undefined) query.set('after', values.after);
      // Processes of older versions refuse a parameter that they don't know.
      if (values.full) query.set('full', 'true');
      const runs = await call(`${url}/run?${query}`, 'POST');
      if (runs.length === 0) throw new Error('No module of this application has a reconcile loop.');
      for (const started of runs) {
        const run = await waitForEnd(started, url);
        printRun(run, program);
        if (run.interrupted) process.exitCode = 1;
      }
    },
    args,
  );
}
