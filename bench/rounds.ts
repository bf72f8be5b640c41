import { percentile } from '../workshop/lab/statistics.js';

/** A line of the table. */
export interface Row {
  readonly what: string;
  readonly measured: string;
  readonly against: string;
  readonly ratio?: string;
  readonly aim: string;
  /** Absent where nothing was aimed at. */
  readonly isReached?: boolean;
}

/** What a subject has found out. */
export interface Findings {
  readonly rows: readonly Row[];
  /** What one has to know to judge them, in Markdown. */
  readonly notes: string;
}

/** What is needed to measure. */
export interface TestBed {
  readonly rounds: number;
  /** The path of a file that isn't there yet. */
  readonly newDatabasePath: () => string;
  /** The address of an empty database on PostgreSQL; absent without one. */
  readonly newPostgresDatabase?: () => Promise<string>;
}

export const NO_POSTGRES = 'no PostgreSQL here';

/** Runs all contenders in turn, so often. @returns the values of each, in the order of the contenders */
export async function alternating<Value>(rounds: number, ...contenders: (() => Promise<Value>)[]): Promise<Value[][]> {
  const values: Value[][] = contenders.map(() => []);
  for (let round = 0; round < rounds; round++) {
    for (const [index, run] of contenders.entries()) values[index]!.push(await run());
    process.stderr.write('.');
  }
  return values;
}

/** Rounds that don't count. */
export const WARM_UPS = 2;

/** The same of contenders that live in this process: the code of each is as fast as it gets before the first round that counts. */
export async function alternatingWarm<Value>(rounds: number, ...contenders: (() => Promise<Value>)[]) {
  await alternating(WARM_UPS, ...contenders);
  return alternating(rounds, ...contenders);
}

export function median(values: readonly number[]): number {
  return percentile(values, 0.5);
}

export function perSecond(value: number): string {
  return `${Math.round(value).toLocaleString('en')} / s`;
}

/** A row whose aim is a ratio that shall be reached or not be exceeded. */
export function ratioRow(
  { what, measured, against }: Pick<Row, 'what' | 'measured' | 'against'>,
  ratio: number,
  aim: { atLeast: number } | { atMost: number },
): Row {
  const [words, isReached] =
    'atLeast' in aim
      ? [`at least ${aim.atLeast}`, ratio >= aim.atLeast]
      : [`at most ${aim.atMost}`, ratio <= aim.atMost];
  return { what, measured, against, ratio: ratio.toFixed(2), aim: words, isReached };
}
