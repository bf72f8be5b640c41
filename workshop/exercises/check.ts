import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { freePort } from '../../tools/ports.js';
import { readSources, ROOT } from '../../tools/source.js';
import { Bench } from '../lab/bench.js';
import type { Fault } from '../lab/faults.js';
import { acceptance } from '../runner/acceptance.js';
import { House } from '../runner/step-processes.js';
import { ACCEPTANCE, DEMO, putUnderWay } from '../runner/fixtures.js';
import type { Step } from '../runner/steps.js';
import { ASIDE, currentExercise, MINE, noteDone } from './workspace.js';
import { HEALTHY, SMALL, type Exercise } from './exercises.js';

/** What is still wrong, and which part of the check saw it. */
export interface Finding {
  readonly stage: 'types' | 'architecture' | 'start' | 'acceptance' | 'fault';
  /** Sentences. */
  readonly says: readonly string[];
  /** What the process printed, its last lines. */
  readonly printed?: readonly string[];
}

/** How often workshop/mine is looked at, in ms. Editors save in ways that watching a file doesn't survive. */
const LOOK_MS = 500;
/** Lines of a process that are shown. */
const PRINTED = 15;
/** How often users have to wait for too long: once, and the machine may have been busy with something else. */
const WAITS = 3;

/** Runs the checks of the current exercise, and prints what is still wrong. */
export async function check(): Promise<void> {
  if (!(await checkOnce())) process.exitCode = 1;
}

/** The same on every save, until somebody ends it. */
export async function watch(): Promise<void> {
  for (let seen = ''; ;) {
    const now = stateOf(MINE);
    if (now !== seen) {
      seen = now;
      await checkOnce().catch((error: Error) => console.log(error.message));
      console.log('Waiting for you to save something in workshop/mine/ …');
    }
    await wait(LOOK_MS);
  }
}

/** Changes whenever a file in a folder does. */
function stateOf(folder: string): string {
  try {
    const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((it) => it.isFile());
    return files.map((it) => `${it.name} ${statSync(join(it.parentPath, it.name)).mtimeMs}`).join();
  } catch {
    return 'gone, or changing right now';
  }
}

async function checkOnce(): Promise<boolean> {
  const exercise = currentExercise();
  console.log(`\nExercise ${exercise.number}, ${exercise.title}`);
  const findings = await examine(exercise, 'mine', (stage) => console.log(`  ✓ ${stage}`));
  if (findings.length === 0) {
    noteDone(exercise);
    const page = `workshop/exercises/${exercise.folder}/README.md`;
    console.log(`\nDone. What it buys, and what it costs, is at the end of ${page}.`);
    return true;
  }
  for (const { stage, says, printed = [] } of findings) {
    console.log(`  ✗ ${stage}\n\n${says.map((it) => `Still wrong: ${it}`).join('\n')}`);
    if (printed.length > 0) console.log(`\nIts process printed:\n${printed.map((it) => `  ${it}`).join('\n')}`);
    console.log();
  }
  return false;
}

/**
 * Looks at what somebody has made: types, architecture, whether it starts, the acceptance tests, and faults of the lab.
 * @param folder of it, under workshop/
 * @param passed told of each part that found nothing
 * @returns what was found; where something is, the faults are left out
 */
export async function examine(
  exercise: Exercise,
  folder: string,
  passed: (stage: string) => void = () => undefined,
): Promise<Finding[]> {
  const step = { ...exercise.step, folder };
  const types = await typeErrors(folder);
  if (types.length > 0) return [{ stage: 'types', says: types }];
  passed('it compiles');
  const findings: Finding[] = [];
  const broken = exercise.rules(sourcesOf(folder));
  if (broken.length > 0) findings.push({ stage: 'architecture', says: broken });
  else passed('its architecture is as it is to be');
  const place = { data: mkdtempSync(join(tmpdir(), 'workshop-check-')), port: await freePort(20) };
  try {
    // Also where the architecture is not yet as it is to be: a long refactoring wants to know whether the rides still end.
    const refused = await accept(step, place);
    if (refused) findings.push(refused);
    else passed('it starts, and passes the acceptance tests');
    for (const fault of exercise.faults) {
      if (findings.length > 0) break;
      const says = await suffer(exercise, fault, step, place).catch((error: Error) => error.message);
      if (says) findings.push({ stage: 'fault', says: [says] });
      else passed(`it bears that ${fault.title}`);
    }
    return findings;
  } finally {
    rmSync(place.data, { recursive: true, force: true });
  }
}

function sourcesOf(folder: string) {
  const sources = readSources(`workshop/${folder}`);
  return new Map([...sources].map(([path, text]) => [path.replace(`workshop/${folder}/`, ''), text]));
}

/** What the compiler says, each as a line. */
async function typeErrors(folder: string): Promise<string[]> {
  const config = join(ASIDE, `${folder}.tsconfig.json`);
  const compilerOptions = { types: ['node'], incremental: true, tsBuildInfoFile: `./${folder}.tsbuildinfo` };
  mkdirSync(ASIDE, { recursive: true });
  writeFileSync(
    config,
    JSON.stringify({ extends: '../../tsconfig.json', compilerOptions, include: [`../${folder}`], exclude: [] }),
  );
  const words = ['node_modules/typescript/bin/tsc', '-p', config];
  // Its exit code says no more than what it prints.
  const stdout = await new Promise<string>((resolve) =>
    execFile(process.execPath, words, { cwd: ROOT, maxBuffer: 1e8 }, (_, text) => resolve(text)),
  );
  // An error may be explained in the lines below it, which are indented.
  return stdout
    .split(/\n(?=\S)/)
    .filter((text) => /error TS/.test(text))
    .map((text) => text.trimEnd());
}

async function accept(step: Step, place: { data: string; port: number }): Promise<Finding | undefined> {
  let house: House;
  try {
    house = await House.open(step, { ...place, environment: { NO_COLOR: '1' } });
  } catch (error) {
    return { stage: 'start', says: [(error as Error).message] };
  }
  try {
    putUnderWay(house.ledgers, [DEMO, ...Object.values(ACCEPTANCE)]);
    const failures = await acceptance(house.url);
    if (failures.size === 0) return undefined;
    const says = [...failures].map(([name, why]) => `${name}. ${why}`);
    return { stage: 'acceptance', says, printed: house.printed.slice(-PRINTED) };
  } finally {
    await house.close();
  }
}

async function suffer(
  { judge, judgeWait }: Exercise,
  fault: Fault,
  step: Step,
  place: { data: string; port: number },
): Promise<string | undefined> {
  const bench = await Bench.open(step, place);
  try {
    await bench.warmUp();
    let wrong: string | undefined;
    for (let left = WAITS; left > 0; left -= 1) {
      const outcome = await bench.measure(fault, SMALL);
      wrong = judge(outcome);
      if (wrong || !judgeWait) return wrong;
      wrong = judgeWait(outcome, await bench.measure(HEALTHY, SMALL));
      if (!wrong) return undefined;
    }
    return wrong;
  } finally {
    await bench.close();
  }
}
