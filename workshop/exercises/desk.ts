import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../../tools/source.js';
import { git } from '../runner/diff.js';
import { Misuse } from '../runner/misuse.js';
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

/** @throws Misuse where nothing has been begun */
export function currentExercise(): Exercise {
  const { current } = notes();
  const exercise = EXERCISES.find(({ number }) => number === current);
  if (!exercise || !existsSync(MINE)) throw new Misuse('Nothing is begun: exercise 1 begins.');
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
  if (current !== exercise.number) {
    if (current !== undefined && existsSync(MINE)) putAside(current);
    const kept = asideOf(exercise.number);
    if (existsSync(kept)) renameSync(kept, MINE);
    else layOut(exercise.start, MINE);
    note({ current: exercise.number });
  } else if (!existsSync(MINE)) {
    layOut(exercise.start, MINE);
  }
  console.log(`Exercise ${exercise.number}, ${exercise.title}, is in workshop/mine/.

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
  const old = join(ASIDE, `${exercise.number}-before-the-solution`);
  rmSync(old, { recursive: true, force: true });
  renameSync(MINE, old);
  renameSync(laid, MINE);
  console.log(
    `The solution is in workshop/mine/; what you had is in workshop/.desk/${exercise.number}-before-the-solution/.`,
  );
}

/** Begins the exercise again. What was done is kept aside, once. */
export function reset(): void {
  const exercise = currentExercise();
  const old = join(ASIDE, `${exercise.number}-before-the-reset`);
  rmSync(old, { recursive: true, force: true });
  renameSync(MINE, old);
  layOut(exercise.start, MINE);
  console.log(
    `workshop/mine/ is as at the beginning; what you had is in workshop/.desk/${exercise.number}-before-the-reset/.`,
  );
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
  else if (existsSync(MINE))
    console.log(`\nworkshop/mine/ holds exercise ${current}: ${readdirSync(MINE).length} files and folders.`);
}
