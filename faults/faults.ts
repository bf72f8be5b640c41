import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { postgresBinaries } from '../test/support/postgres.js';
import { buildApplication } from '../workshop/runner/step-directory.js';
import { COMBINATIONS, type Combination } from './combinations.js';
import { killed } from './kills.js';
import type { Fault } from './fault.js';
import { Random } from './random.js';
import { FAULTS, isClean, run, type Result } from './run.js';
import { table } from './table.js';

const USAGE = `npm run faults -- [options]

  Real processes under load, while everything goes wrong; then the databases are counted. It ends with exit code 1 unless
  nothing was lost, nothing doubled, and nothing is stuck.

  --minutes N    in all, shared among the combinations; 10 unless told
  --seed N       makes the same plan again; one of its own unless told
  --only A,B     combinations, databases, transports or faults:
                 ${COMBINATIONS.map(({ name }) => name).join(', ')}
                 ${FAULTS.map(({ name }) => name).join(', ')}`;

/** What starting, coming to rest and counting take of the time of a combination, in ms: about. */
const AROUND_MS = 20_000;
const LEAST_MS = 10_000;
/** From so many minutes on, so many kills there have to be. */
const LONG_MINUTES = 20;
const LONG_KILLS = 200;
/** The exit code after a Ctrl-C. */
const BROKEN_OFF = 130;

class Usage extends Error {}

interface Chosen {
  readonly combinations: readonly Combination[];
  readonly faults: readonly Fault[];
}

/** @throws Usage for a word that names nothing */
function choose(only: string | undefined): Chosen {
  const words = only?.split(',').map((it) => it.trim()) ?? [];
  const names = (it: Combination) => [it.name, it.database, it.transport] as string[];
  const unknown = words.find(
    (word) => !FAULTS.some(({ name }) => name === word) && !COMBINATIONS.some((it) => names(it).includes(word)),
  );
  if (unknown !== undefined) throw new Usage(`There is no ${unknown}`);
  const faults = FAULTS.filter(({ name }) => words.includes(name));
  const wanted = words.filter((word) => !FAULTS.some(({ name }) => name === word));
  // A database and a transport together mean what is both; alone, each means all that it is in.
  const of = (kind: 'database' | 'transport') => wanted.filter((word) => COMBINATIONS.some((it) => it[kind] === word));
  const [databases, transports] = [of('database'), of('transport')];
  const isWanted = (it: Combination) =>
    wanted.length === 0 ||
    wanted.includes(it.name) ||
    (databases.length + transports.length > 0 &&
      (databases.length === 0 || databases.includes(it.database)) &&
      (transports.length === 0 || transports.includes(it.transport)));
  return { combinations: COMBINATIONS.filter(isWanted), faults: faults.length > 0 ? faults : FAULTS };
}

async function main(): Promise<boolean> {
  const { values } = parseArgs({
    options: {
      minutes: { type: 'string', default: '10' },
      seed: { type: 'string' },
      only: { type: 'string' },
      help: { type: 'boolean', short: 'h' },
    },
  });
  if (values.help) throw new Usage();
  const minutes = Number(values.minutes);
  if (!(minutes > 0)) throw new Usage(`--minutes ${values.minutes} is no time`);
  const seed = values.seed === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(values.seed);
  if (!Number.isInteger(seed)) throw new Usage(`--seed ${values.seed} is no whole number`);
  const { combinations: chosen, faults } = choose(values.only);
  const combinations = chosen.filter(({ database }) => database === 'sqlite' || postgresBinaries());
  const tell = (line: string) => process.stderr.write(`${line}\n`);
  for (const it of chosen) if (!combinations.includes(it)) tell(`${it.name} is left out: there is no PostgreSQL here`);
  if (combinations.length === 0) throw new Usage('Nothing is left of that');
  const again = `npm run faults -- --minutes ${values.minutes} --seed ${seed}${values.only ? ` --only ${values.only}` : ''}`;
  console.log(`Seed ${seed}. The same plan again: ${again}`);
  buildApplication();
  const folder = mkdtempSync(join(tmpdir(), `cabs-faults-${seed}-`));
  // PostgreSQL's own user has to find its way in.
  chmodSync(folder, 0o755);
  // Broken off, it has nothing to tell.
  process.once('exit', (code) => code === BROKEN_OFF && rmSync(folder, { recursive: true, force: true }));
  const random = new Random(seed);
  const ms = Math.max(LEAST_MS, (minutes * 60_000) / combinations.length - AROUND_MS);
  const results: Result[] = [];
  for (const combination of combinations) {
    const place = join(folder, combination.name);
    const result = await run({ combination, random: random.fork(), ms, folder: place, faults, tell });
    results.push(result);
    if (isClean(result)) rmSync(place, { recursive: true, force: true });
    else tell(complaint(result, place));
  }
  console.log(`\n${table(results)}\n`);
  const kills = results.reduce((total, it) => total + it.kills, 0);
  const times: Record<string, number> = {};
  for (const { faults: some } of results)
    for (const [name, n] of Object.entries(some)) times[name] = (times[name] ?? 0) + n;
  const all = Object.entries(times).map(([name, n]) => `${name} ${n}`);
  console.log(`Faults: ${all.join(', ')}.`);
  console.log(`Kills: ${kills}. Seed ${seed}: ${again}`);
  const isHarmless = minutes >= LONG_MINUTES && faults.includes(killed) && kills < LONG_KILLS;
  if (isHarmless) tell(`Less than ${LONG_KILLS} kills in ${minutes} minutes show too little`);
  const isFine = results.every(isClean) && !isHarmless;
  if (isFine) rmSync(folder, { recursive: true, force: true });
  return isFine;
}

function complaint({ combination, accepted, remarks, surprises }: Result, folder: string): string {
  const empty = accepted === 0 ? ['nobody was told that a ride is over'] : [];
  const shown = [...empty, ...remarks.map(({ id, what }) => `${id}: ${what}`), ...surprises];
  const more = shown.length > 10 ? [`… and ${shown.length - 10} more`] : [];
  return [`${combination} is not in order; all is kept in ${folder}`, ...shown.slice(0, 10), ...more].join('\n  ');
}

// What was started ends with us.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => process.exit(BROKEN_OFF));
try {
  process.exit((await main()) ? 0 : 1);
} catch (error) {
  const { message, code, stack } = error as Error & { code?: string };
  const isMisuse = error instanceof Usage || code?.startsWith('ERR_PARSE_ARGS');
  console.error(isMisuse ? `${message ? `${message}\n\n` : ''}${USAGE}` : stack);
  process.exit(error instanceof Usage && !message ? 0 : 1);
}
