import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { ROOT } from '../tools/source.js';
import { percentile } from '../workshop/lab/statistics.js';
import { buildApplication } from '../workshop/runner/place.js';
import { bare, latencies, MESSAGES, ours, plainjob } from './contenders.js';
import { startOfOurs, startOfPlainNest } from './start.js';

/*
 * npm run bench
 *
 * Every figure is a ratio of two things that were measured in the same run: rounds that alternate, and their medians. It
 * prints them and writes bench/RESULTS.md. Nothing passes or fails here; an aim that is missed is said to be.
 */

const ROUNDS = 5;
const folder = mkdtempSync(join(tmpdir(), 'cabs-bench-'));
let files = 0;
const fresh = () => join(folder, `${++files}.db`);
const median = (values: readonly number[]) => percentile(values, 0.5);

interface Row {
  readonly what: string;
  readonly measured: string;
  readonly against: string;
  readonly ratio: string;
  readonly aim: string;
  readonly isReached: boolean;
}

/** Runs all contenders in turn, so often. @returns the values of each */
async function alternating(...contenders: ((path: string) => Promise<number>)[]): Promise<number[][]> {
  const values: number[][] = contenders.map(() => []);
  for (let round = 0; round < ROUNDS; round++) {
    for (const [index, run] of contenders.entries()) values[index]!.push(await run(fresh()));
    process.stderr.write('.');
  }
  return values;
}

async function throughput(): Promise<Row[]> {
  const [mesh, queue, statements] = (await alternating(ours, plainjob, bare)).map(median) as [number, number, number];
  const perSecond = (value: number) => `${Math.round(value).toLocaleString('en')} / s`;
  const row = (against: string, value: number, aim: number): Row => ({
    ...{ what: `messages settled, SQLite, synchronous=FULL (${MESSAGES.toLocaleString('en')} pending)`, against },
    ...{ measured: perSecond(mesh), ratio: (mesh / value).toFixed(2), aim: `at least ${aim}` },
    isReached: mesh / value >= aim,
  });
  return [
    row(`plainjob 0.0.14: ${perSecond(queue)}`, queue, 5),
    row(`the same statements by bare better-sqlite3: ${perSecond(statements)}`, statements, 0.3),
  ];
}

async function latency(): Promise<Row> {
  const all = await latencies(fresh(), 500);
  const [p50, p99] = [percentile(all, 0.5), percentile(all, 0.99)];
  return {
    ...{
      what: 'commit to handler start, idle system',
      against: 'a poll every 500 ms: 250 ms at the median, by arithmetic',
    },
    ...{ measured: `p50 ${p50.toFixed(2)} ms, p99 ${p99.toFixed(2)} ms`, ratio: (p50 / 250).toFixed(4) },
    ...{ aim: 'p50 under 2 ms, p99 under 10 ms', isReached: p50 < 2 && p99 < 10 },
  };
}

async function starting(): Promise<Row[]> {
  buildApplication();
  const [database, plain] = [fresh(), fresh()];
  // Once without the clock: migrations are applied, and the file system knows the files.
  await startOfOurs(database);
  const [mesh, nest] = [[], []] as { ms: number; residentMb: number }[][];
  for (let round = 0; round < ROUNDS; round++) {
    mesh!.push(await startOfOurs(database));
    nest!.push(await startOfPlainNest(plain));
    process.stderr.write('.');
  }
  const row = (what: string, of: 'ms' | 'residentMb', unit: string): Row => {
    const [a, b] = [median(mesh!.map((it) => it[of])), median(nest!.map((it) => it[of]))];
    const shown = (value: number) => `${Math.round(value)} ${unit}`;
    return {
      ...{ what, measured: shown(a), against: `a Nest application with TypeORM and nothing else: ${shown(b)}` },
      ...{ ratio: (a / b).toFixed(2), aim: 'at most 1.5', isReached: a / b <= 1.5 },
    };
  };
  return [
    row('process start to the first accepted ride, compiled', 'ms', 'ms'),
    row('resident memory then', 'residentMb', 'MB'),
  ];
}

function markdown(rows: readonly Row[], seconds: number): string {
  const [cpu] = cpus();
  const machine = `${cpu?.model.trim()}, ${cpus().length} cores, ${Math.round(totalmem() / 2 ** 30)} GiB, Node ${process.version}`;
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  const cells = ({ what, measured, against, ratio, aim, isReached }: Row) =>
    line([what, measured, against, ratio, aim, isReached ? 'reached' : 'missed']);
  return [
    '# Benchmarks',
    `${new Date().toISOString().slice(0, 10)}, ${machine}. ${ROUNDS} alternating rounds, medians; ${seconds} s. Written by \`npm run bench\`.`,
    [
      line(['what', 'measured', 'against', 'ratio', 'aim', '']),
      line(['---', '--:', '---', '--:', '---', '---']),
      ...rows.map(cells),
    ].join('\n'),
    `Ours writes its row through TypeORM, in a unit of work with an inbox record; plainjob's handler writes it by a prepared
statement on the queue's own connection, and keeps no inbox. "The same statements" are prepared, in batches of the relay's sizes, in
one process without a framework.`,
    '',
  ].join('\n\n');
}

const began = Date.now();
const rows = [...(await throughput()), await latency(), ...(await starting())];
process.stderr.write('\n');
rmSync(folder, { recursive: true, force: true });
const text = markdown(rows, Math.round((Date.now() - began) / 1000));
writeFileSync(join(ROOT, 'bench/RESULTS.md'), text);
console.log(text);
process.exit(0);
