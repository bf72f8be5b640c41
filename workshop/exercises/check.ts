import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { freePort } from '../../tools/ports.js';
import { readSources, ROOT, type Sources } from '../../tools/source.js';
import type { Fault } from '../lab/faults.js';
import { TestBed } from '../lab/test-bed.js';
import { acceptance } from '../runner/acceptance.js';
import { ACCEPTANCE, DEMO, insertRides } from '../runner/fixtures.js';
import { StepProcesses } from '../runner/step-processes.js';
import type { Step } from '../runner/steps.js';
import { HEALTHY, SMALL, type Exercise } from './exercises.js';
import { currentExercise, MINE, noteDone, STATE } from './workspace.js';

/** What is still wrong, and which phase of the check found it. */
export interface Finding {
  readonly phase: 'types' | 'architecture' | 'start' | 'acceptance' | 'fault';
  /** Sentences. */
  readonly problems: readonly string[];
  /** The last lines that the process printed. */
  readonly printed?: readonly string[];
}

/** How often `watch` looks for changes, in ms. It polls: editors save in ways that file watchers miss. */
const POLL_MS = 500;
/** Printed lines of a process that a finding shows. */
const PRINTED = 15;
/** Waits are judged up to five times: a busy machine may delay users in some of them. */
const WAIT_ATTEMPTS = 5;

interface Location {
  /** A folder for the databases. */
  readonly data: string;
  readonly port: number;
}

/** Checks the current exercise and prints what is still wrong. */
export async function check(): Promise<void> {
  if (!(await checkOnce())) process.exitCode = 1;
}

/** Checks the current exercise at every save, until the process is stopped. */
export async function watch(): Promise<void> {
  for (let seen = ''; ;) {
    const now = versionOf(MINE);
    if (now !== seen) {
      seen = now;
      await checkOnce().catch((error: Error) => console.log(error.message));
      console.log('Waiting for a change in workshop/mine/ …');
    }
    await wait(POLL_MS);
  }
}

/** A text that changes whenever a file in the folder changes. */
function versionOf(folder: string): string {
  try {
    const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((it) => it.isFile());
    return files.map((it) => `${it.name} ${statSync(join(it.parentPath, it.name)).mtimeMs}`).join();
  } catch {
    return 'the folder is missing, or a file disappeared while it was read';
  }
}

async function checkOnce(): Promise<boolean> {
  const exercise = currentExercise();
  console.log(`\nExercise ${exercise.number}, ${exercise.title}`);
  const findings = await examine(exercise, 'mine', (what) => console.log(`  ✓ ${what}`));
  if (findings.length === 0) {
    noteDone(exercise);
    const page = `workshop/exercises/${exercise.folder}/README.md`;
    console.log(`\nDone. The end of ${page} says what you have gained, and what it costs.`);
    return true;
  }
  for (const { phase, problems, printed = [] } of findings) {
    console.log(`  ✗ ${phase}\n\n${problems.map((it) => `Still wrong: ${it}`).join('\n')}`);
    if (printed.length > 0) console.log(`\nThe process printed:\n${printed.map((it) => `  ${it}`).join('\n')}`);
    console.log();
  }
  return false;
}

/**
 * Checks an exercise: types, architecture, start, acceptance tests, and then the faults of the lab.
 * @param folder of the solution, under workshop/
 * @param onPassed called for each phase without a finding
 * @returns the findings; the faults are left out when an earlier phase has found something
 */
export async function examine(
  exercise: Exercise,
  folder: string,
  onPassed: (what: string) => void = () => undefined,
): Promise<Finding[]> {
  const step = { ...exercise.step, folder };
  const types = await typeErrors(folder);
  if (types.length > 0) return [{ phase: 'types', problems: types }];
  onPassed('it compiles');
  const findings: Finding[] = [];
  const violations = exercise.rules(sourcesOf(folder));
  if (violations.length > 0) findings.push({ phase: 'architecture', problems: violations });
  else onPassed('it keeps to the architecture rules');
  const location = { data: mkdtempSync(join(tmpdir(), 'workshop-check-')), port: await freePort(20) };
  try {
    // Run even when a rule is violated: during a long refactoring it helps to know that the rides still complete.
    const failure = await runAcceptance(step, location);
    if (failure) findings.push(failure);
    else onPassed('it starts, and passes the acceptance tests');
    for (const fault of exercise.faults) {
      if (findings.length > 0) break;
      const problem = await runFault(exercise, fault, step, location).catch((error: Error) => error.message);
      if (problem) findings.push({ phase: 'fault', problems: [problem] });
      else onPassed(`it passes under the fault ${fault.name}`);
    }
    return findings;
  } finally {
    rmSync(location.data, { recursive: true, force: true });
  }
}

function sourcesOf(folder: string): Sources {
  const sources = readSources(`workshop/${folder}`);
  return new Map([...sources].map(([path, text]) => [path.replace(`workshop/${folder}/`, ''), text]));
}

/** @returns the errors of the compiler */
async function typeErrors(folder: string): Promise<string[]> {
  const config = join(STATE, `${folder}.tsconfig.json`);
  const compilerOptions = { types: ['node'], incremental: true, tsBuildInfoFile: `./${folder}.tsbuildinfo` };
  mkdirSync(STATE, { recursive: true });
  writeFileSync(
    config,
    JSON.stringify({ extends: '../../tsconfig.json', compilerOptions, include: [`../${folder}`], exclude: [] }),
  );
  const words = ['node_modules/typescript/bin/tsc', '-p', config];
  // The exit code adds nothing to what tsc prints.
  const stdout = await new Promise<string>((resolve) =>
    execFile(process.execPath, words, { cwd: ROOT, maxBuffer: 1e8 }, (_, text) => resolve(text)),
  );
  // tsc indents the lines that explain an error.
  return stdout
    .split(/\n(?=\S)/)
    .filter((text) => /error TS/.test(text))
    .map((text) => text.trimEnd());
}

async function runAcceptance(step: Step, location: Location): Promise<Finding | undefined> {
  let processes: StepProcesses;
  try {
    processes = await StepProcesses.open(step, { ...location, environment: { NO_COLOR: '1' } });
  } catch (error) {
    return { phase: 'start', problems: [(error as Error).message] };
  }
  try {
    insertRides(processes.databases, [DEMO, ...Object.values(ACCEPTANCE)]);
    const failures = await acceptance(processes.url);
    if (failures.size === 0) return undefined;
    const problems = [...failures].map(([name, why]) => `${name}. ${why}`);
    return { phase: 'acceptance', problems, printed: processes.printed.slice(-PRINTED) };
  } finally {
    await processes.close();
  }
}

/** @returns what is wrong under the fault */
async function runFault(
  { judge, judgeWait }: Exercise,
  fault: Fault,
  step: Step,
  location: Location,
): Promise<string | undefined> {
  const testBed = await TestBed.open(step, location);
  try {
    await testBed.warmUp();
    let problem: string | undefined;
    for (let left = WAIT_ATTEMPTS; left > 0; left -= 1) {
      const outcome = await testBed.measure(fault, SMALL);
      problem = judge(outcome);
      if (problem || !judgeWait) return problem;
      problem = judgeWait(outcome, await testBed.measure(HEALTHY, SMALL));
      if (!problem) return undefined;
    }
    return problem;
  } finally {
    await testBed.close();
  }
}
