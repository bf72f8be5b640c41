import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { freePort } from '../tools/ports.js';
import { check, watch } from './exercises/check.js';
import { EXERCISES } from './exercises/exercises.js';
import { currentExercise, hint, reset, solution, startExercise, status } from './exercises/workspace.js';
import { FAULTS, FULL, QUICK, QUICK_FAULTS, type Fault } from './lab/faults.js';
import { runLab } from './lab/lab.js';
import { reportPage } from './lab/page.js';
import { Progress } from './lab/progress.js';
import type { Report } from './lab/report.js';
import { markdownTable, terminalTable } from './lab/table.js';
import { showDiff } from './runner/diff.js';
import { serveStep } from './runner/start.js';
import { buildApplication } from './runner/step-directory.js';
import { needsBuild, STEPS, type Step } from './runner/steps.js';
import { UsageError } from '../tools/errors.js';

const LAST_STEP = STEPS.length - 1;

const USAGE = `npm run workshop -- <command>

  From a transaction to an event mesh, in ${STEPS.length} steps that run. Start with workshop/README.md.

  start N            serve step N at http://localhost:3000 [--port N]; start mine: serve your exercise
  diff A B           show what changes from step A to step B
  lab                run the steps under faults and count what became of every ride
                       --quick              three faults, in about four minutes
                       --steps 0,1,4-6      only these steps
                       --faults down,twice  only these faults: ${FAULTS.map(({ name }) => name).join(', ')}
                       --html FILE  --json FILE  --markdown FILE

  exercise N         put the start of exercise N, or your own work on it, into workshop/mine/
  check              say in a sentence what is still wrong [--watch: at every save]
  hint               show one more hint
  solution           show the solution as a diff to your work [--take: put it into workshop/mine/]
  reset              start the exercise again
  status             show which exercises you have started and finished

Steps
${STEPS.map(({ number, title }) => `  ${number}  ${title}`).join('\n')}

Exercises
${EXERCISES.map(({ number, title }) => `  ${number}  ${title}`).join('\n')}`;

const options = {
  port: { type: 'string', default: '3000' },
  quick: { type: 'boolean', default: false },
  steps: { type: 'string' },
  faults: { type: 'string' },
  html: { type: 'string' },
  json: { type: 'string' },
  markdown: { type: 'string' },
  watch: { type: 'boolean', default: false },
  take: { type: 'boolean', default: false },
  help: { type: 'boolean', short: 'h' },
} as const;

async function run(): Promise<void> {
  const { values, positionals } = parseArgs({ options, allowPositionals: true });
  const [command, ...words] = positionals;
  if (values.help || !command) return console.log(USAGE);
  const commands: Record<string, () => unknown> = {
    start: () => serveStep(words[0] === 'mine' ? currentExercise().step : stepOf(words[0]), portOf(values.port)),
    diff: () => showDiff(stepOf(words[0]), stepOf(words[1])),
    lab: () => lab(values),
    exercise: () => startExercise(words[0]),
    check: () => (values.watch ? watch() : check()),
    hint,
    solution: () => solution(values.take),
    reset,
    status,
  };
  const chosen = Object.hasOwn(commands, command) ? commands[command] : undefined;
  if (!chosen) throw new UsageError(`There is no command ${command}.`);
  await chosen();
}

async function lab(values: {
  quick: boolean;
  steps?: string;
  faults?: string;
  html?: string;
  json?: string;
  markdown?: string;
}) {
  const steps = values.steps === undefined ? STEPS : stepsOf(values.steps);
  const faults =
    values.faults === undefined
      ? FAULTS.filter((it) => !values.quick || QUICK_FAULTS.includes(it.name))
      : faultsOf(values.faults);
  if (steps.some(needsBuild)) buildApplication();
  const data = mkdtempSync(join(tmpdir(), 'workshop-lab-'));
  const progress = new Progress();
  const report = await runLab({
    steps,
    faults,
    isQuick: values.quick,
    size: values.quick ? QUICK : FULL,
    data,
    port: await freePort(20),
    onProgress: (done, all, what) => progress.show(done, all, what),
    onOutcome: (outcome) => progress.showOutcome(outcome),
  });
  progress.end();
  rmSync(data, { recursive: true, force: true });
  console.log(`\n${terminalTable(report)}\n`);
  const files = {
    html: reportPage,
    json: (it: Report) => `${JSON.stringify(it, null, 2)}\n`,
    markdown: (it: Report) => `${markdownTable(it)}\n`,
  };
  for (const [kind, write] of Object.entries(files)) {
    const file = values[kind as keyof typeof files];
    if (file === undefined) continue;
    writeFileSync(file, write(report));
    console.log(`Written: ${file}`);
  }
}

/** @throws UsageError */
function stepOf(word: string | undefined): Step {
  const step = word !== undefined && /^\d$/.test(word) ? STEPS[Number(word)] : undefined;
  if (!step) {
    throw new UsageError(`Steps are numbers from 0 to ${LAST_STEP}${word === undefined ? '' : `, not ${word}`}.`);
  }
  return step;
}

/** `0,2,4-6` @throws UsageError */
function stepsOf(list: string): Step[] {
  const ranges = list.split(',').map((range) => /^(\d)(?:-(\d))?$/.exec(range.trim()));
  const isIn = (number: number) => ranges.some((it) => number >= Number(it![1]) && number <= Number(it![2] ?? it![1]));
  if (ranges.includes(null) || !STEPS.some(({ number }) => isIn(number))) {
    throw new UsageError(`--steps takes numbers from 0 to ${LAST_STEP} such as 0,2,4-6, not ${list}.`);
  }
  return STEPS.filter(({ number }) => isIn(number));
}

/** @throws UsageError */
function faultsOf(list: string): Fault[] {
  const names = list.split(',').map((name) => name.trim());
  const unknown = names.find((name) => !FAULTS.some((it) => it.name === name));
  if (unknown !== undefined) {
    throw new UsageError(`There is no fault ${unknown}. The faults are ${FAULTS.map(({ name }) => name).join(', ')}.`);
  }
  return FAULTS.filter(({ name }) => names.includes(name));
}

/** @throws UsageError */
function portOf(word: string): number {
  // The processes of a step use up to 20 ports from this one on.
  if (!/^\d{1,5}$/.test(word) || Number(word) < 1 || Number(word) > 65_500) {
    throw new UsageError(`--port takes a number from 1 to 65500, not ${word}.`);
  }
  return Number(word);
}

// At exit the runner kills the processes that it has started. `start` has a signal handler that ends them gracefully.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  if (process.argv[2] !== 'start') process.once(signal, () => process.exit(1));
}

try {
  await run();
} catch (error) {
  const { message, code } = error as Error & { code?: string };
  const isUsageError = error instanceof UsageError || code?.startsWith('ERR_PARSE_ARGS');
  console.error(isUsageError ? `${message.split(/\. |\n/)[0]}\n\nnpm run workshop shows the commands.` : message);
  process.exitCode = 1;
}
