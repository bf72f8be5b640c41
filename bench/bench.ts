import 'reflect-metadata';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { runCommand } from '../tools/command-line.js';
import { UsageError } from '../tools/errors.js';
import { startPostgres } from '../tools/postgres.js';
import { ROOT } from '../tools/source.js';
import { buildApplication } from '../workshop/runner/step-directory.js';
import { rides, waiting } from './http.js';
import { journal } from './journal.js';
import { latency } from './latency.js';
import { restartOnMeasuredNode } from './measured-node.js';
import { pending } from './pending.js';
import { postgresContenders } from './postgres-contenders.js';
import { publishing } from './publishing.js';
import { replicas } from './replicas.js';
import { WARM_UPS, type Findings, type Row, type TestBed } from './rounds.js';
import { sqliteContenders } from './sqlite-contenders.js';
import { starting } from './start.js';

/*
 * Each figure is a ratio of two medians that were measured in the same run, in alternating rounds. The benchmark doesn't
 * fail when an aim is missed; the table says so.
 */

const ROUNDS = 5;

/** What is measured, in the order of the table. */
const SUBJECTS: Readonly<Record<string, (testBed: TestBed) => Promise<Findings>>> = {
  sqlite: sqliteContenders,
  postgres: postgresContenders,
  replicas,
  journal,
  latency,
  waiting,
  rides,
  pending,
  publishing,
  starting,
};

const ALL_SUBJECTS = Object.keys(SUBJECTS).join(',');

const USAGE = `npm run bench -- [options]

  Measures the application and the mesh against alternatives, prints the results, and writes bench/RESULTS.md. Takes
  about 15 minutes. The first run installs other libraries and their version of Node, of bench/contenders/versions.ts,
  from the npm registry into a folder for temporary files.

  --only A,B     only these: ${ALL_SUBJECTS}
  --rounds N     rounds of each measurement; default ${ROUNDS}

  With one of these options bench/RESULTS.md is not written. Everything runs on that version of Node, or on yours where npm
  can't install it.`;

/** @throws UsageError for an unknown subject */
function subjectsIn(only: string | undefined): string[] {
  const names = only?.split(',') ?? Object.keys(SUBJECTS);
  const unknown = names.find((name) => !SUBJECTS[name]);
  if (unknown !== undefined) throw new UsageError(`Invalid --only "${unknown}": expected some of ${ALL_SUBJECTS}.`);
  return names;
}

/** Measures the subjects one after another. @returns the report, in Markdown */
async function measure(names: readonly string[], rounds: number): Promise<string> {
  const startedAt = Date.now();
  buildApplication();
  const folder = mkdtempSync(join(tmpdir(), 'cabs-bench-'));
  const postgres = await startPostgres();
  let files = 0;
  const testBed: TestBed = {
    rounds,
    newDatabasePath: () => join(folder, `${++files}.db`),
    ...(postgres && { newPostgresDatabase: () => postgres.newDatabase(), postgresPid: postgres.pid }),
  };
  const findings: Findings[] = [];
  try {
    for (const name of names) {
      const since = Date.now();
      process.stderr.write(`${name} `);
      findings.push(await SUBJECTS[name]!(testBed));
      process.stderr.write(` ${Math.round((Date.now() - since) / 1000)} s\n`);
    }
  } finally {
    await postgres?.stop();
    rmSync(folder, { recursive: true, force: true });
  }
  const seconds = Math.round((Date.now() - startedAt) / 1000);
  return markdown(findings, { rounds, seconds, postgres: postgres?.version });
}

const options = { only: { type: 'string' }, rounds: { type: 'string' } } as const;

await runCommand({ usage: USAGE, options, formatError: (error) => (error as Error).stack! }, async (values) => {
  const rounds = Number(values.rounds ?? ROUNDS);
  if (!(rounds >= 1)) throw new UsageError(`Invalid --rounds "${values.rounds}": expected a number of at least 1.`);
  const subjects = subjectsIn(values.only);
  restartOnMeasuredNode();
  const text = await measure(subjects, rounds);
  console.log(text);
  if (values.only || values.rounds) console.log('With --only or --rounds, bench/RESULTS.md is not written.');
  else writeFileSync(join(ROOT, 'bench/RESULTS.md'), text);
});
process.exit();

interface Circumstances {
  readonly rounds: number;
  readonly seconds: number;
  /** The version of PostgreSQL, if it is installed. */
  readonly postgres?: string;
}

function markdown(findings: readonly Findings[], { rounds, seconds, postgres }: Circumstances): string {
  const [cpu] = cpus();
  const machine = `${cpu?.model.trim()}, ${cpus().length} cores, ${Math.round(totalmem() / 2 ** 30)} GiB, Node ${process.version}`;
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  const verdict = ({ isReached }: Row) => (isReached === undefined ? '' : isReached ? 'reached' : 'missed');
  const cells = (row: Row) => line([row.what, row.measured, row.against, row.ratio ?? '', row.aim, verdict(row)]);
  return [
    '# Benchmarks',
    `${new Date().toISOString().slice(0, 10)}, ${machine}${postgres ? `, ${postgres}` : ''}. ${rounds} alternating
rounds unless stated otherwise, medians; messages settled and publishing after ${WARM_UPS} warm-up rounds; ${seconds} s. Written by \`npm run bench\`.
Everything runs on this version of Node; the image has Node 24, too. On Node 20 the application completes a quarter fewer rides: asynchronous
contexts are slower there.
[MISSED.md](MISSED.md) says what is known of the aims that are missed.`,
    [
      line(['what', 'measured', 'against', 'ratio', 'aim', '']),
      line(['---', '--:', '---', '--:', '---', '---']),
      ...findings.flatMap(({ rows }) => rows.map(cells)),
    ].join('\n'),
    ...findings.map(({ notes }) => notes).filter(Boolean),
    '',
  ].join('\n\n');
}
