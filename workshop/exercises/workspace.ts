import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../../tools/source.js';
import { git } from '../runner/diff.js';
import { Misuse } from '../runner/usage-error.js';
import { EXERCISES, type Exercise } from './exercises.js';

/*
 * The desk at which one works: workshop/mine holds one exercise at a time. Others that were begun are put aside with all
 * that was done, and come back when they are asked for.
 */

export const MINE = join(ROOT, 'workshop/mine');
export const ASIDE = join(ROOT, 'workshop/.desk');
const NOTES = join(ASIDE, 'notes.json');

interface Notes {
  /** The number of the exercise in workshop/mine. */
  readonly current?: number;
  /** When an exercise first passed its check, UTC. */
  readonly done: Readonly<Record<number, string>>;
  /** How many hints were given. */
  readonly hints: Readonly<Record<number, number>>;
}

function notes(): Notes {
  return existsSync(NOTES) ? (JSON.parse(readFileSync(NOTES, 'utf8')) as Notes) : { done: {}, hints: {} };
}

function note(changes: Partial<Notes>): void {
  mkdirSync(ASIDE, { recursive: true });
  writeFileSync(NOTES, `${JSON.stringify({ ...notes(), ...changes }, null, 2)}\n`);
}

/** @throws Error that says what to do, where nothing is on the desk */
export function currentExercise(): Exercise {
  const { current } = notes();
  const exercise = EXERCISES.find(({ number }) => number === current);
  if (!exercise) throw new Error('Nothing is begun. Begin with: npm run workshop -- exercise 1');
  if (!existsSync(MINE)) {
    throw new Error(`workshop/mine/ is not there. This puts it there: npm run workshop -- exercise ${exercise.number}`);
  }
  return exercise;
}

/** Remembers that an exercise has passed its check. */
export function noteDone({ number }: Exercise): void {
  const { done } = notes();
  if (!done[number]) note({ done: { ...done, [number]: new Date().toISOString() } });
}

/** Puts an exercise on the desk: its start, or what has been done of it. */
export function startExercise(word: string | undefined): void {
  const exercise = EXERCISES.find(({ number }) => String(number) === word);
  if (!exercise) throw new Misuse(`Exercises are numbers from 1 to ${EXERCISES.length}.`);
  const { current } = notes();
  const isHere = current === exercise.number && existsSync(MINE);
  if (!isHere && current !== undefined && current !== exercise.number && existsSync(MINE)) putAside(current);
  const kept = asideOf(exercise.number);
  const isKept = !isHere && existsSync(kept);
  if (isKept) {
    rmSync(MINE, { recursive: true, force: true });
    renameSync(kept, MINE);
  } else if (!isHere) layOut(exercise.start, MINE);
  note({ current: exercise.number });
  const what = isHere || isKept ? 'what you have done of it' : 'its start';
  console.log(`Exercise ${exercise.number}, ${exercise.title}: ${what} is in workshop/mine/.

  Its page     workshop/exercises/${exercise.folder}/README.md
  Check it     npm run workshop -- check --watch
  One hint     npm run workshop -- hint`);
}

function asideOf(number: number): string {
  return join(ASIDE, String(number));
}

function putAside(number: number): void {
  mkdirSync(ASIDE, { recursive: true });
  rmSync(asideOf(number), { recursive: true, force: true });
  renameSync(MINE, asideOf(number));
}

/** Lays folders over one another, without their pages. */
export function layOut(folders: readonly string[], target: string): void {
  rmSync(target, { recursive: true, force: true });
  for (const folder of folders) {
    cpSync(folder, target, { recursive: true, filter: (path) => !path.endsWith('.md') });
  }
}

/** Prints one hint more than before. */
export function hint(): void {
  const { number, folder } = currentExercise();
  const text = readFileSync(join(ROOT, 'workshop/exercises', folder, 'hints.md'), 'utf8');
  const all = text.split(/^---$/m).map((it) => it.trim());
  const { hints } = notes();
  const shown = Math.min((hints[number] ?? 0) + 1, all.length);
  note({ hints: { ...hints, [number]: shown } });
  console.log(
    all
      .slice(0, shown)
      .map((it, index) => `${index + 1} of ${all.length}. ${it}`)
      .join('\n\n'),
  );
  if (shown === all.length) console.log('\nThat was the last one. npm run workshop -- solution shows a solution.');
}

/** Shows a solution as what would change, or puts it into workshop/mine, with what was there put aside. */
export function solution(isTaken: boolean): void {
  const exercise = currentExercise();
  const laid = join(ASIDE, 'solution');
  layOut(exercise.solution, laid);
  if (!isTaken) {
    git(join(ROOT, 'workshop'), ['mine', '.desk/solution']);
    return;
  }
  const backup = backUp(exercise, laid);
  renameSync(laid, MINE);
  console.log(`The solution is in workshop/mine/${backup}.`);
}

/** Moves what is in workshop/mine aside, unless it is the same as what comes in its place. @returns a word on that */
function backUp({ number }: Exercise, successor: string): string {
  const isSame = spawnSync('git', ['diff', '--no-index', '--quiet', MINE, successor]).status === 0;
  let copy = 1;
  while (existsSync(join(ASIDE, `${number}-copy-${copy}`))) copy++;
  if (isSame) {
    rmSync(MINE, { recursive: true });
    return ', as it was';
  }
  renameSync(MINE, join(ASIDE, `${number}-copy-${copy}`));
  return `; what you had is in workshop/.desk/${number}-copy-${copy}/`;
}

/** Begins the exercise again. What was done is kept aside. */
export function reset(): void {
  const exercise = currentExercise();
  const start = join(ASIDE, 'start');
  layOut(exercise.start, start);
  const backup = backUp(exercise, start);
  renameSync(start, MINE);
  console.log(`workshop/mine/ is as at the beginning${backup}.`);
}

/** Prints what is begun and what is done. */
export function status(): void {
  const { current, done, hints } = notes();
  for (const { number, title } of EXERCISES) {
    const isBegun = number === current || existsSync(asideOf(number));
    const state = done[number] ? `done ${done[number].slice(0, 10)}` : isBegun ? 'begun' : '';
    const hinted = hints[number] ? `, hints: ${hints[number]}` : '';
    console.log(`${number === current ? '>' : ' '} ${number}  ${title.padEnd(34)} ${state}${state ? hinted : ''}`);
  }
  if (current === undefined) console.log('\nNothing is begun: npm run workshop -- exercise 1');
  else console.log(`\nworkshop/mine/ ${existsSync(MINE) ? `holds exercise ${current}` : 'is not there'}.`);
}
