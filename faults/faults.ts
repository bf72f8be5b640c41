import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runCommand } from '../tools/command-line.js';
import { UsageError } from '../tools/errors.js';
import { postgresBinaries } from '../tools/postgres-server.js';
import { buildApplication } from '../workshop/runner/step-directory.js';
import { COMBINATIONS, type Combination } from './combinations.js';
import type { Fault } from './fault.js';
import { killed } from './kills.js';
import { Random } from './random.js';
import { FAULTS, isClean, run, type Result } from './run.js';
import { table } from './table.js';

const USAGE = `npm run faults -- [options]

  Runs the application in real processes under load, injects faults, and counts in the databases what was lost,
  duplicated, or left unfinished. The exit code is 0 when there was nothing of that, otherwise 1.

  --minutes N    duration of all combinations together; default 10
  --seed N       repeats the plan of an earlier run; default: random
  --only A,B     only these combinations, databases, transports or faults:
                 ${COMBINATIONS.map(({ name }) => name).join(', ')}
                 ${FAULTS.map(({ name }) => name).join(', ')}`;

/** Time that a combination needs to start, to come to rest and to count, in ms; an estimate. */
const OVERHEAD_MS = 20_000;
/** Shortest time for the faults of a combination, in ms. */
const MIN_FAULTS_MS = 10_000;
/** A run of this many minutes or more must have this many kills. */
const LONG_RUN_MINUTES = 20;
const MIN_KILLS_OF_LONG_RUN = 200;
/** The exit code after Ctrl-C. */
const INTERRUPTED = 130;

interface Selection {
  readonly combinations: readonly Combination[];
  readonly faults: readonly Fault[];
}

/** @throws UsageError for an unknown name */
function select(only: string | undefined): Selection {
  const names = only?.split(',').map((it) => it.trim()) ?? [];
  const namesOf = (it: Combination) => [it.name, it.database, it.transport] as string[];
  const isFault = (name: string) => FAULTS.some((it) => it.name === name);
  const unknown = names.find((name) => !isFault(name) && !COMBINATIONS.some((it) => namesOf(it).includes(name)));
  if (unknown !== undefined) {
    throw new UsageError(`Invalid --only "${unknown}": no combination, database, transport or fault has this name.`);
  }
  const faults = FAULTS.filter(({ name }) => names.includes(name));
  const others = names.filter((name) => !isFault(name));
  // A database and a transport together select the combinations of both; one alone selects all combinations with it.
  const of = (kind: 'database' | 'transport') => others.filter((name) => COMBINATIONS.some((it) => it[kind] === name));
  const databases = of('database');
  const transports = of('transport');
  const isSelected = (it: Combination) =>
    others.length === 0 ||
    others.includes(it.name) ||
    (databases.length + transports.length > 0 &&
      (databases.length === 0 || databases.includes(it.database)) &&
      (transports.length === 0 || transports.includes(it.transport)));
  return { combinations: COMBINATIONS.filter(isSelected), faults: faults.length > 0 ? faults : FAULTS };
}

function log(line: string): void {
  process.stderr.write(`${line}\n`);
}

/** Runs all combinations. @returns whether all of them were clean */
async function runAll(minutes: number, seed: number, command: string, selection: Selection): Promise<boolean> {
  const { combinations, faults } = selection;
  console.log(`Seed ${seed}. To repeat this plan: ${command}`);
  buildApplication();
  const folder = mkdtempSync(join(tmpdir(), `cabs-faults-${seed}-`));
  // The user that runs PostgreSQL needs access to the folder.
  chmodSync(folder, 0o755);
  // After Ctrl-C the results are incomplete, so the folder is of no use.
  process.once('exit', (code) => code === INTERRUPTED && rmSync(folder, { recursive: true, force: true }));
  const random = new Random(seed);
  const ms = Math.max(MIN_FAULTS_MS, (minutes * 60_000) / combinations.length - OVERHEAD_MS);
  const results: Result[] = [];
  for (const combination of combinations) {
    const runFolder = join(folder, combination.name);
    const result = await run({ combination, random: random.fork(), ms, folder: runFolder, faults, log });
    results.push(result);
    if (isClean(result)) rmSync(runFolder, { recursive: true, force: true });
    else log(report(result, runFolder));
  }
  const kills = results.reduce((total, it) => total + it.kills, 0);
  console.log(`\n${table(results)}\n`);
  console.log(`Faults: ${faultCounts(results)}.`);
  console.log(`Kills: ${kills}. Seed ${seed}: ${command}`);
  const hasTooFewKills = minutes >= LONG_RUN_MINUTES && faults.includes(killed) && kills < MIN_KILLS_OF_LONG_RUN;
  if (hasTooFewKills) log(`Expected at least ${MIN_KILLS_OF_LONG_RUN} kills in ${minutes} minutes, got ${kills}.`);
  const isSuccess = results.every(isClean) && !hasTooFewKills;
  if (isSuccess) rmSync(folder, { recursive: true, force: true });
  return isSuccess;
}

function faultCounts(results: readonly Result[]): string {
  const total: Record<string, number> = {};
  for (const { faults } of results) {
    for (const [name, n] of Object.entries(faults)) total[name] = (total[name] ?? 0) + n;
  }
  return Object.entries(total)
    .map(([name, n]) => `${name} ${n}`)
    .join(', ');
}

function report({ combination, accepted, defects, surprises }: Result, folder: string): string {
  const empty = accepted === 0 ? ['no user got a success for completing a transit'] : [];
  const all = [...empty, ...defects.map(({ id, what }) => `${id}: ${what}`), ...surprises];
  const more = all.length > 10 ? [`… and ${all.length - 10} more`] : [];
  return [`${combination} has defects; databases and logs are in ${folder}`, ...all.slice(0, 10), ...more].join('\n  ');
}

// All children are killed when this process exits.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => process.exit(INTERRUPTED));

const options = {
  minutes: { type: 'string', default: '10' },
  seed: { type: 'string' },
  only: { type: 'string' },
} as const;

await runCommand({ usage: USAGE, options, formatError: (error) => (error as Error).stack! }, async (values) => {
  const minutes = Number(values.minutes);
  if (!(minutes > 0)) throw new UsageError(`Invalid --minutes "${values.minutes}": expected a number above 0.`);
  const seed = values.seed === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(values.seed);
  if (!Number.isInteger(seed)) throw new UsageError(`Invalid --seed "${values.seed}": expected an integer.`);
  const { combinations, faults } = select(values.only);
  const possible = combinations.filter(({ database }) => database === 'sqlite' || postgresBinaries());
  for (const it of combinations) if (!possible.includes(it)) log(`${it.name} is left out: PostgreSQL is not installed`);
  if (possible.length === 0) throw new UsageError('Nothing to run: PostgreSQL is not installed.');
  const only = values.only ? ` --only ${values.only}` : '';
  const command = `npm run faults -- --minutes ${values.minutes} --seed ${seed}${only}`;
  const isSuccess = await runAll(minutes, seed, command, { combinations: possible, faults });
  process.exitCode = isSuccess ? 0 : 1;
});
// Sockets of killed processes may still be open.
process.exit();
