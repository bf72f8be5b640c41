import { percentile } from '../workshop/lab/statistics.js';

/** A row of the table. */
export interface Row {
  readonly what: string;
  readonly measured: string;
  readonly against: string;
  readonly ratio?: string;
  readonly aim: string;
  /** Absent without an aim. */
  readonly isReached?: boolean;
}

/** The results of a subject. */
export interface Findings {
  readonly rows: readonly Row[];
  /** Explanations of the rows, in Markdown. */
  readonly notes: string;
}

/** What all measurements need. */
export interface TestBed {
  readonly rounds: number;
  /** @returns the path of a new SQLite file */
  readonly newDatabasePath: () => string;
  /** Creates an empty PostgreSQL database. @returns its URL. Absent when PostgreSQL is not installed */
  readonly newPostgresDatabase?: () => Promise<string>;
  /** The process id of PostgreSQL. */
  readonly postgresPid?: number;
}

export const NO_POSTGRES = 'PostgreSQL is not installed';

/** Runs all contenders in turn in each round. @returns the values of each contender */
export async function alternating<Value>(rounds: number, ...contenders: (() => Promise<Value>)[]): Promise<Value[][]> {
  const values: Value[][] = contenders.map(() => []);
  for (let round = 0; round < rounds; round++) {
    for (const [index, run] of contenders.entries()) values[index]!.push(await run());
    process.stderr.write('.');
  }
  return values;
}

/** Rounds before the measured ones. */
export const WARM_UPS = 6;

/** For contenders in this process: runs WARM_UPS rounds first, so that their code is compiled. */
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

/** A row whose aim is a minimum or maximum of the ratio. */
export function ratioRow(
  { what, measured, against }: Pick<Row, 'what' | 'measured' | 'against'>,
  ratio: number,
  aim: { atLeast: number } | { atMost: number },
): Row {
  const [aimText, isReached] =
    'atLeast' in aim
      ? [`at least ${aim.atLeast}`, ratio >= aim.atLeast]
      : [`at most ${aim.atMost}`, ratio <= aim.atMost];
  return { what, measured, against, ratio: ratio.toFixed(2), aim: aimText, isReached };
}
