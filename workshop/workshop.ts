import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { freePort } from '../tools/ports.js';
import { check, watch } from './exercises/check.js';
import { currentExercise, hint, reset, solution, startExercise, status } from './exercises/workspace.js';
import { EXERCISES } from './exercises/exercises.js';
import { FAULTS, FULL, QUICK, QUICK_FAULTS, type Fault } from './lab/faults.js';
import { runLab } from './lab/lab.js';
import { reportPage } from './lab/page.js';
import { Progress } from './lab/progress.js';
import { markdownTable, terminalTable } from './lab/table.js';
import { showDiff } from './runner/diff.js';
import { Misuse } from './runner/usage-error.js';
import { buildApplication } from './runner/step-directory.js';
import { serveStep } from './runner/start.js';
import { needsBuild, STEPS, type Step } from './runner/steps.js';

const USAGE = `npm run workshop -- <command>

  From a transaction to an event mesh, in nine steps that run. Begin with workshop/README.md.

  start N            serves step N at http://localhost:3000 [--port N]; start mine, what you are working on
  diff A B           what changes from step A to step B
  lab                runs the steps under faults, and prints what became of every ride
                       --quick              three faults, in about three minutes
                       --steps 0,1,4-6      some of the steps
                       --faults down,twice  some of the faults: ${FAULTS.map(({ name }) => name).join(', ')}
                       --html FILE  --json FILE  --markdown FILE

  exercise N         puts the start of exercise N into workshop/mine/, or what you have done of it
  check              tells in a sentence what is still wrong [--watch: on every save]
  hint               one more hint
  solution           shows the solution, as a diff to what you have [--take: puts it into workshop/mine/]
  reset              begins the exercise again
  status             where you are

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
    start: () => serveStep(words[0] === 'mine' ? mine() : stepOf(words[0]), portOf(values.port)),
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
  if (!chosen) throw new Misuse(`There is no command ${command}.`);
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
    ...{ steps, faults, isQuick: values.quick, size: values.quick ? QUICK : FULL },
    ...{ data, port: await freePort(20) },
    progress: (done, all, what) => progress.show(done, all, what),
    told: (outcome) => progress.told(outcome),
  });
  progress.end();
  rmSync(data, { recursive: true, force: true });
  console.log(`\n${terminalTable(report)}\n`);
  const files = {
    html: reportPage,
    json: (it: object) => `${JSON.stringify(it, null, 2)}\n`,
    markdown: (it: typeof report) => `${markdownTable(it)}\n`,
  };
  for (const [kind, write] of Object.entries(files)) {
    const file = values[kind as keyof typeof files];
    if (file === undefined) continue;
    writeFileSync(file, write(report));
    console.log(`Written: ${file}`);
  }
}

/** What is on the desk, to be tried by hand. */
function mine(): Step {
  return currentExercise().step;
}

/** @throws Misuse */
function stepOf(word: string | undefined): Step {
  const step = word !== undefined && /^\d$/.test(word) ? STEPS[Number(word)] : undefined;
  if (!step)
    throw new Misuse(`Steps are numbers from 0 to ${STEPS.length - 1}${word === undefined ? '' : `, not ${word}`}.`);
  return step;
}

/** `0,2,4-6` @throws Misuse */
function stepsOf(list: string): Step[] {
  const parts = list.split(',').map((part) => /^([0-8])(?:-([0-8]))?$/.exec(part.trim()));
  const isIn = (number: number) => parts.some((it) => number >= Number(it![1]) && number <= Number(it![2] ?? it![1]));
  if (parts.includes(null) || !STEPS.some(({ number }) => isIn(number))) {
    throw new Misuse(`--steps takes numbers from 0 to ${STEPS.length - 1} such as 0,2,4-6, not ${list}.`);
  }
  return STEPS.filter(({ number }) => isIn(number));
}

/** @throws Misuse */
function faultsOf(list: string): Fault[] {
  const names = list.split(',').map((name) => name.trim());
  const unknown = names.find((name) => !FAULTS.some((it) => it.name === name));
  if (unknown !== undefined)
    throw new Misuse(`There is no fault ${unknown}; there are ${FAULTS.map(({ name }) => name).join(', ')}.`);
  return FAULTS.filter(({ name }) => names.includes(name));
}

/** @throws Misuse */
function portOf(word: string): number {
  if (!/^\d{1,5}$/.test(word) || Number(word) > 65_500) throw new Misuse(`--port ${word} is no port.`);
  return Number(word);
}

// Whoever ends us ends what we have started; `start` has a gentler way.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  if (process.argv[2] !== 'start') process.once(signal, () => process.exit(1));
}

try {
  await run();
} catch (error) {
  const { message, code } = error as Error & { code?: string };
  const isMisuse = error instanceof Misuse || code?.startsWith('ERR_PARSE_ARGS');
  console.error(isMisuse ? `${message}\n\nnpm run workshop shows what there is.` : message);
  process.exitCode = 1;
}
