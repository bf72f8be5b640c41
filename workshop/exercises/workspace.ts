import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../../tools/source.js';
import { gitDiff } from '../runner/diff.js';
import { UsageError } from '../../tools/errors.js';
import { EXERCISES, type Exercise } from './exercises.js';

/*
 * The workspace: workshop/mine holds the work on one exercise. Work on the other exercises is kept in
 * workshop/.workspace, and comes back when its exercise is started again.
 */

export const MINE = join(ROOT, 'workshop/mine');
export const STATE = join(ROOT, 'workshop/.workspace');
const NOTES = join(STATE, 'notes.json');

interface Notes {
  /** The number of the exercise in workshop/mine. */
  readonly current?: number;
  /** When an exercise first passed its check, UTC. */
  readonly done: Readonly<Record<number, string>>;
  /** How many hints have been shown. */
  readonly hints: Readonly<Record<number, number>>;
}

function readNotes(): Notes {
  return existsSync(NOTES) ? (JSON.parse(readFileSync(NOTES, 'utf8')) as Notes) : { done: {}, hints: {} };
}

function writeNotes(changes: Partial<Notes>): void {
  mkdirSync(STATE, { recursive: true });
  writeFileSync(NOTES, `${JSON.stringify({ ...readNotes(), ...changes }, null, 2)}\n`);
}

/** @throws Error that says what to do, when no exercise has been started */
export function currentExercise(): Exercise {
  const { current } = readNotes();
  const exercise = EXERCISES.find(({ number }) => number === current);
  if (!exercise) throw new Error('No exercise is started. Start one with: npm run workshop -- exercise 1');
  if (!existsSync(MINE)) {
    throw new Error(`workshop/mine/ is missing. Restore it with: npm run workshop -- exercise ${exercise.number}`);
  }
  return exercise;
}

/** Records that an exercise has passed its check. */
export function noteDone({ number }: Exercise): void {
  const { done } = readNotes();
  if (!done[number]) writeNotes({ done: { ...done, [number]: new Date().toISOString() } });
}

/** Puts an exercise into workshop/mine: its start, or earlier work on it. */
export function startExercise(word: string | undefined): void {
  const exercise = EXERCISES.find(({ number }) => String(number) === word);
  if (!exercise) throw new UsageError(`Exercises are numbers from 1 to ${EXERCISES.length}.`);
  const { current } = readNotes();
  const isHere = current === exercise.number && existsSync(MINE);
  if (!isHere && existsSync(MINE)) keep(current);
  const kept = keptFolder(exercise.number);
  const isKept = !isHere && existsSync(kept);
  if (isKept) {
    rmSync(MINE, { recursive: true, force: true });
    renameSync(kept, MINE);
  } else if (!isHere) copyInto(exercise.start, MINE);
  writeNotes({ current: exercise.number });
  const what = isHere || isKept ? 'your work on it' : 'its start';
  console.log(`Exercise ${exercise.number}, ${exercise.title}: ${what} is in workshop/mine/.

  Its page     workshop/exercises/${exercise.folder}/README.md
  Check it     npm run workshop -- check --watch
  One hint     npm run workshop -- hint`);
}

function keptFolder(number: number): string {
  return join(STATE, String(number));
}

/** Moves workshop/mine to where `exercise N` finds it. @param number of its exercise, unless that is unknown */
function keep(number: number | undefined): void {
  mkdirSync(STATE, { recursive: true });
  if (number === undefined) return renameSync(MINE, nextCopy('unknown'));
  rmSync(keptFolder(number), { recursive: true, force: true });
  renameSync(MINE, keptFolder(number));
}

/** Copies folders one after the other, so that later files win. Pages and hints are left out. */
export function copyInto(folders: readonly string[], target: string): void {
  rmSync(target, { recursive: true, force: true });
  for (const folder of folders) {
    cpSync(folder, target, { recursive: true, filter: (path) => !path.endsWith('.md') });
  }
}

/** Prints the hints shown so far and one more. */
export function hint(): void {
  const { number, folder } = currentExercise();
  const text = readFileSync(join(ROOT, 'workshop/exercises', folder, 'hints.md'), 'utf8');
  const all = text.split(/^---$/m).map((it) => it.trim());
  const { hints } = readNotes();
  const shown = Math.min((hints[number] ?? 0) + 1, all.length);
  writeNotes({ hints: { ...hints, [number]: shown } });
  console.log(
    all
      .slice(0, shown)
      .map((it, index) => `${index + 1} of ${all.length}. ${it}`)
      .join('\n\n'),
  );
  if (shown === all.length) console.log('\nThis is the last hint. npm run workshop -- solution shows a solution.');
}

/** Shows a solution as a diff to workshop/mine, or replaces workshop/mine by it and keeps a copy of the work. */
export function solution(isTaken: boolean): void {
  const exercise = currentExercise();
  const folder = join(STATE, 'solution');
  copyInto(exercise.solution, folder);
  if (!isTaken) {
    gitDiff(join(ROOT, 'workshop'), ['mine', '.workspace/solution']);
    return;
  }
  const note = backUp(exercise, folder);
  renameSync(folder, MINE);
  console.log(`The solution is in workshop/mine/${note}.`);
}

/** Makes room in workshop/mine and keeps a copy of the work, unless it equals `successor`. @returns where the copy is */
function backUp({ number }: Exercise, successor: string): string {
  if (spawnSync('git', ['diff', '--no-index', '--quiet', MINE, successor]).status === 0) {
    rmSync(MINE, { recursive: true });
    return ', which had the same content before';
  }
  const copy = nextCopy(String(number));
  renameSync(MINE, copy);
  return `; your work is in ${copy.replace(ROOT, '').slice(1)}/`;
}

function nextCopy(name: string): string {
  let copy = 1;
  while (existsSync(join(STATE, `${name}-copy-${copy}`))) copy++;
  return join(STATE, `${name}-copy-${copy}`);
}

/** Starts the exercise again and keeps a copy of the work. */
export function reset(): void {
  const exercise = currentExercise();
  const start = join(STATE, 'start');
  copyInto(exercise.start, start);
  const note = backUp(exercise, start);
  renameSync(start, MINE);
  console.log(`The start of exercise ${exercise.number} is in workshop/mine/${note}.`);
}

/** Prints which exercises are started and done. */
export function status(): void {
  const { current, done, hints } = readNotes();
  for (const { number, title } of EXERCISES) {
    const isStarted = number === current || existsSync(keptFolder(number));
    const state = done[number] ? `done ${done[number].slice(0, 10)}` : isStarted ? 'started' : '';
    const hinted = hints[number] ? `, hints: ${hints[number]}` : '';
    console.log(`${number === current ? '>' : ' '} ${number}  ${title.padEnd(34)} ${state}${state ? hinted : ''}`);
  }
  if (current === undefined) console.log('\nNo exercise is started: npm run workshop -- exercise 1');
  else console.log(`\nworkshop/mine/ ${existsSync(MINE) ? `holds exercise ${current}` : 'is missing'}.`);
}
