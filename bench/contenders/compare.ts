import { NODE_ENVIRONMENT } from '../measured-node.js';
import { alternatingWarm, median, perSecond, ratioRow, type Row } from '../rounds.js';
import { startContender, type ContenderProcess } from './process.js';
import { VERSIONS } from './versions.js';

/** Messages that are pending at the start of a measurement. */
export const MESSAGES = 10_000;

export const GRAPHILE = `graphile-worker ${VERSIONS['graphile-worker']}`;
export const PG_BOSS = `pg-boss ${VERSIONS['pg-boss']}`;
export const PLAINJOB = `plainjob ${VERSIONS.plainjob}`;

/** A row of the table: a contender of ours against another one, each named `<file of this folder>/<contender in it>`. */
export interface Comparison {
  readonly ours: string;
  /** The first column, with `ours` in words. */
  readonly what: string;
  readonly theirs: string;
  /** `theirs` in words. */
  readonly against: string;
  /** Absent without an aim. */
  readonly atLeast?: number;
}

/** Measures all contenders, each in a process of its own, in alternating rounds. Says in the rows when that is not possible. */
export async function compare(
  comparisons: readonly Comparison[],
  { rounds, newDatabase }: { rounds: number; newDatabase: () => Promise<string> },
): Promise<Row[]> {
  if (!NODE_ENVIRONMENT.RIVALS) {
    const measured = 'not measured: bench/contenders/versions.ts is not installed';
    return comparisons.map(({ what, against, atLeast }) => ({ what, measured, against, aim: aimOf(atLeast) }));
  }
  const names = [...new Set(comparisons.flatMap(({ ours, theirs }) => [ours, theirs]))];
  const processes: ContenderProcess[] = [];
  try {
    // One after another, so that their starts don't compete for the cores.
    for (const name of names) processes.push(await startContender(name));
    const settle = (it: ContenderProcess) => async () =>
      it.settle({ database: await newDatabase(), howMany: MESSAGES });
    const values = await alternatingWarm(rounds, ...processes.map(settle));
    const medians = new Map(names.map((name, index) => [name, median(values[index]!)]));
    return comparisons.map((it) => rowOf(it, medians.get(it.ours)!, medians.get(it.theirs)!));
  } finally {
    await Promise.all(processes.map((it) => it.end()));
  }
}

function rowOf({ what, against, atLeast }: Comparison, ours: number, theirs: number): Row {
  const line = { what, measured: perSecond(ours), against: `${against}: ${perSecond(theirs)}` };
  if (atLeast !== undefined) return ratioRow(line, ours / theirs, { atLeast });
  return { ...line, ratio: (ours / theirs).toFixed(2), aim: aimOf(atLeast) };
}

/** The aim of a row. */
export function aimOf(atLeast?: number): string {
  return atLeast === undefined ? 'report' : `at least ${atLeast}`;
}
