import 'reflect-metadata';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { startPostgres } from '../tools/postgres.js';
import { ROOT } from '../tools/source.js';
import { buildApplication } from '../workshop/runner/step-directory.js';
import { rides, waiting } from './http.js';
import { latency } from './latency.js';
import { pending } from './pending.js';
import { postgresContenders } from './postgres-contenders.js';
import { publishing } from './publishing.js';
import { replicas } from './replicas.js';
import { WARM_UPS, type Findings, type Row, type TestBed } from './rounds.js';
import { sqliteContenders } from './sqlite-contenders.js';
import { starting } from './start.js';

/*
 * npm run bench [-- --only postgres,rides --rounds 1]
 *
 * Every figure is a ratio of two things that were measured in the same run: rounds that alternate, and their medians. It
 * prints them and writes bench/RESULTS.md, unless only a part was wanted. Nothing passes or fails here; an aim that is
 * missed is said to be.
 */

const ROUNDS = 5;

/** In the order of the table. */
const SUBJECTS: Readonly<Record<string, (stand: TestBed) => Promise<Findings>>> = {
  sqlite: sqliteContenders,
  postgres: postgresContenders,
  replicas,
  latency,
  waiting,
  rides,
  pending,
  publishing,
  starting,
};

const { values } = parseArgs({ options: { only: { type: 'string' }, rounds: { type: 'string' } }, strict: false }) as {
  values: Record<string, string | undefined>;
};
const wanted = values.only?.split(',') ?? Object.keys(SUBJECTS);
const rounds = Number(values.rounds ?? ROUNDS);
const unknown = [
  ...wanted.filter((name) => !SUBJECTS[name]),
  ...Object.keys(values).filter((name) => name !== 'only' && name !== 'rounds'),
];
if (unknown.length > 0 || !(rounds >= 1)) {
  console.error(`There is: --only ${Object.keys(SUBJECTS).join(',')} --rounds <number>`);
  process.exit(2);
}

const began = Date.now();
buildApplication();
const folder = mkdtempSync(join(tmpdir(), 'cabs-bench-'));
const postgres = await startPostgres();
let files = 0;
const stand: TestBed = {
  rounds,
  newDatabasePath: () => join(folder, `${++files}.db`),
  ...(postgres && { newPostgresDatabase: () => postgres.fresh() }),
};
const found: Findings[] = [];
try {
  for (const name of wanted) {
    const since = Date.now();
    process.stderr.write(`${name} `);
    found.push(await SUBJECTS[name]!(stand));
    process.stderr.write(` ${Math.round((Date.now() - since) / 1000)} s\n`);
  }
} finally {
  await postgres?.stop();
  rmSync(folder, { recursive: true, force: true });
}
const text = markdown(found, Math.round((Date.now() - began) / 1000));
console.log(text);
if (values.only || values.rounds) console.log('Only a part, or not in all rounds: bench/RESULTS.md stays as it was.');
else writeFileSync(join(ROOT, 'bench/RESULTS.md'), text);
process.exit(0);

function markdown(findings: readonly Findings[], seconds: number): string {
  const [cpu] = cpus();
  const machine = `${cpu?.model.trim()}, ${cpus().length} cores, ${Math.round(totalmem() / 2 ** 30)} GiB, Node ${process.version}`;
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  const verdict = ({ isReached }: Row) => (isReached === undefined ? '' : isReached ? 'reached' : 'missed');
  const cells = (row: Row) => line([row.what, row.measured, row.against, row.ratio ?? '', row.aim, verdict(row)]);
  return [
    '# Benchmarks',
    `${new Date().toISOString().slice(0, 10)}, ${machine}${postgres ? `, ${postgres.version}` : ''}. ${rounds} alternating
rounds where nothing else is said, medians; messages settled and publishing after ${WARM_UPS} rounds that don't count; ${seconds} s. Written by \`npm run bench\`.`,
    [
      line(['what', 'measured', 'against', 'ratio', 'aim', '']),
      line(['---', '--:', '---', '--:', '---', '---']),
      ...findings.flatMap(({ rows }) => rows.map(cells)),
    ].join('\n'),
    ...findings.map(({ notes }) => notes).filter(Boolean),
    '',
  ].join('\n\n');
}
