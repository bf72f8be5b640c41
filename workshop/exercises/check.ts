import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, watch as watchFolder, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from '../../tools/ports.js';
import { readSources, ROOT } from '../../tools/source.js';
import { Bench } from '../lab/bench.js';
import { acceptance } from '../runner/acceptance.js';
import { House } from '../runner/house.js';
import { ACCEPTANCE, DEMO, putUnderWay } from '../runner/roster.js';
import type { Step } from '../runner/steps.js';
import { ASIDE, currentExercise, MINE, noteDone } from './desk.js';
import { SMALL, type Exercise } from './exercises.js';

/** What is still wrong, and which part of the check saw it. */
export interface Finding {
  readonly stage: 'types' | 'architecture' | 'start' | 'acceptance' | 'fault';
  /** Sentences. */
  readonly says: readonly string[];
}

/** Runs the checks of the current exercise, and prints what is still wrong. */
export async function check(): Promise<void> {
  if (!(await checkOnce())) process.exitCode = 1;
}

/** The same on every save, until somebody ends it. */
export async function watch(): Promise<void> {
  let [isWanted, isBusy] = [true, false];
  const run = async () => {
    if (isBusy) return;
    isBusy = true;
    while (isWanted) {
      isWanted = false;
      await checkOnce();
      if (!isWanted) console.log('Waiting for you to save something in workshop/mine/ …');
    }
    isBusy = false;
  };
  let pause: NodeJS.Timeout | undefined;
  watchFolder(MINE, { recursive: true }, () => {
    isWanted = true;
    clearTimeout(pause);
    // Editors save in several strokes.
    pause = setTimeout(() => void run(), 200);
  });
  await run();
}

async function checkOnce(): Promise<boolean> {
  const exercise = currentExercise();
  console.log(`\nExercise ${exercise.number}, ${exercise.title}`);
  const finding = await examine(exercise, 'mine', (stage) => console.log(`  ✓ ${stage}`));
  if (!finding) {
    noteDone(exercise);
    console.log(
      `\nDone. What it buys, and what it costs, is at the end of workshop/exercises/${exercise.folder}/README.md.`,
    );
    return true;
  }
  console.log(`  ✗ ${finding.stage}\n\n${finding.says.map((it) => `Still wrong: ${it}`).join('\n')}`);
  return false;
}

/**
 * Looks at what somebody has made: types, architecture, whether it starts, the acceptance tests, and one fault of the lab.
 * @param folder of it, under workshop/
 * @param passed told of each part that found nothing
 * @returns what the first part that found something says
 */
export async function examine(
  exercise: Exercise,
  folder: string,
  passed: (stage: string) => void = () => undefined,
): Promise<Finding | undefined> {
  const step = { ...exercise.step, folder };
  const types = typeErrors(folder);
  if (types.length > 0) return { stage: 'types', says: types };
  passed('it compiles');
  const broken = exercise.rules(sourcesOf(folder));
  if (broken.length > 0) return { stage: 'architecture', says: broken };
  passed('its architecture is as it is to be');
  const place = { data: mkdtempSync(join(tmpdir(), 'workshop-check-')), port: await freePort(20) };
  try {
    const accepted = await accept(step, place);
    if (accepted) return accepted;
    passed('it starts, and passes the acceptance tests');
    const says = await suffer(exercise, step, place);
    if (says) return { stage: 'fault', says: [says] };
    passed(`it bears that ${exercise.fault.title}`);
    return undefined;
  } finally {
    rmSync(place.data, { recursive: true, force: true });
  }
}

function sourcesOf(folder: string) {
  const sources = readSources(`workshop/${folder}`);
  return new Map([...sources].map(([path, text]) => [path.replace(`workshop/${folder}/`, ''), text]));
}

/** What the compiler says, each as a line. */
function typeErrors(folder: string): string[] {
  const config = join(ASIDE, `${folder}.tsconfig.json`);
  const compilerOptions = { types: ['node'], incremental: true, tsBuildInfoFile: `./${folder}.tsbuildinfo` };
  mkdirSync(ASIDE, { recursive: true });
  writeFileSync(
    config,
    JSON.stringify({ extends: '../../tsconfig.json', compilerOptions, include: [`../${folder}`], exclude: [] }),
  );
  const words = ['node_modules/typescript/bin/tsc', '-p', config];
  const { stdout } = spawnSync(process.execPath, words, { cwd: ROOT, encoding: 'utf8' });
  return stdout.split('\n').filter((line) => /error TS/.test(line));
}

async function accept(step: Step, place: { data: string; port: number }): Promise<Finding | undefined> {
  let house: House;
  try {
    house = await House.open(step, place);
  } catch (error) {
    return { stage: 'start', says: [(error as Error).message] };
  }
  try {
    putUnderWay(house.ledgers, [DEMO, ...Object.values(ACCEPTANCE)]);
    const failures = await acceptance(house.url);
    if (failures.size === 0) return undefined;
    return { stage: 'acceptance', says: [...failures].map(([name, why]) => `${name}. ${why}`) };
  } finally {
    await house.close();
  }
}

async function suffer(
  { fault, judge }: Exercise,
  step: Step,
  place: { data: string; port: number },
): Promise<string | undefined> {
  const bench = await Bench.open(step, place);
  try {
    await bench.warmUp();
    return judge(await bench.measure(fault, SMALL));
  } finally {
    await bench.close();
  }
}
