import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { manyRides, rideRows } from '../workshop/runner/fixtures.js';
import { insert, select } from './databases.js';
import type { Combination } from './combinations.js';
import { clock, failing, slow } from './consumers.js';
import { cut, duplicated, reordered } from './connections.js';
import { count, type Verdict } from './count.js';
import { readDatabases } from './database-contents.js';
import { brokerKilled, frozen, killed, postgresKilled, rolling } from './kills.js';
import type { Fault } from './fault.js';
import { Ledger } from './ledger.js';
import type { Random } from './random.js';
import { differencesAtRest, Scrapes } from './scrapes.js';
import { TestBed } from './test-bed.js';
import { diskFull, locked } from './storage.js';
import { oldSnapshot, overload, readOnly, silentStandby } from './storms.js';
import { Users } from './users.js';

export const FAULTS: readonly Fault[] = [
  killed,
  rolling,
  brokerKilled,
  postgresKilled,
  frozen,
  cut,
  diskFull,
  locked,
  clock,
  duplicated,
  reordered,
  slow,
  failing,
  overload,
  oldSnapshot,
  readOnly,
  silentStandby,
];

/** Duration of a fault, and the pause before the next one, in ms. */
const FAULT_MS = [2500, 7000] as const;
const PAUSE_MS = [0, 1200] as const;
/**
 * Probabilities that a second fault comes at the same time, and that processes are killed meanwhile. A frozen process is
 * always accompanied by a second fault, as it takes long.
 */
const SECOND_FAULT_PROBABILITY = 0.4;
const KILL_PROBABILITY = 0.7;
/** How long users may repeat their requests after recovery, in ms. */
const LAST_REQUESTS_MS = 30_000;
/** The run is at rest when no message was in flight for this long, in ms; and the longest wait for that, in ms. */
const QUIET_AT_REST_MS = 2000;
const MAX_REST_WAIT_MS = 90_000;
/** Transits of one client. All of them change the same awards account. */
const TRANSITS_PER_CLIENT = 10;

export interface Result extends Verdict {
  readonly combination: string;
  readonly kills: number;
  /** How often each fault had an effect. */
  readonly faults: Readonly<Record<string, number>>;
  /** Everything that must not happen, beside what is counted. */
  readonly surprises: readonly string[];
  /** Which faults were left out, and why. */
  readonly leftOut: readonly string[];
}

export interface RunOptions {
  readonly combination: Combination;
  readonly random: Random;
  /** How long faults are injected, in ms; starting, coming to rest and counting come on top. */
  readonly ms: number;
  /** Keeps the logs and the ledger of this combination. */
  readonly folder: string;
  /** The faults to inject; default: all that apply to the combination. */
  readonly faults?: readonly Fault[];
  readonly log: (line: string) => void;
  /** Changes the databases before users arrive: tests prove with it that the rig finds defects. */
  readonly beforeLoad?: (testBed: TestBed) => Promise<void>;
  /** Changes the databases before they are counted. */
  readonly beforeCount?: (testBed: TestBed) => Promise<void>;
}

/** A run without any accepted request proves nothing, so it isn't clean. */
export function isClean({ accepted, lost, duplicated, stuck, dead, disordered, surprises }: Result): boolean {
  return accepted > 0 && lost + duplicated + stuck + dead + disordered + surprises.length === 0;
}

/** Runs one combination under load and faults, and counts. @throws Error when a process does not start */
export async function run(options: RunOptions): Promise<Result> {
  const { combination, random, ms, folder, log } = options;
  const testBed = await TestBed.open(combination, folder, random.fork());
  let result: Result | undefined;
  try {
    const ledger = new Ledger(join(folder, 'ledger.jsonl'));
    const transits = manyRides(1, Math.ceil((combination.perSecond * ms) / 1000) + 10).map((transit, index) => {
      return { ...transit, clientId: transit.clientId - (index % TRANSITS_PER_CLIENT) };
    });
    for (const rows of rideRows(transits, 'modules')) {
      const database = testBed.moduleDatabases.find(({ name }) => name === rows.owner || name === 'cabs')!;
      await insert(database, rows);
    }
    await options.beforeLoad?.(testBed);
    const scrapes = new Scrapes(testBed.applications.filter(({ name }) => /^(cabs|rides)/.test(name)));
    scrapes.start();
    const users = new Users(testBed.urls, ledger, random.fork());
    const load = users.run(transits, combination.perSecond);
    const injected = await injectFaults(testBed, options);
    await testBed.recover().catch((error: Error) => testBed.surprises.push(error.message));
    await users.close(LAST_REQUESTS_MS);
    await load;
    const rested = await comeToRest(testBed);
    if (!rested) log(`${combination.name.padEnd(20)} still has messages in flight after ${MAX_REST_WAIT_MS / 1000} s`);
    scrapes.stop();
    const differences = scrapes.compare(ledger);
    if (rested) differences.push(...(await differencesAtRest(testBed.applications, testBed.databases)));
    log(`${combination.name.padEnd(20)} ${scrapes.compared} completions compared with the metrics`);
    await testBed.stopServices();
    await options.beforeCount?.(testBed);
    const verdict = count(ledger, await readDatabases(testBed.moduleDatabases, testBed.databases));
    const surprises = [...ledger.surprises, ...testBed.surprises, ...differences];
    result = { ...verdict, ...injected, combination: combination.name, kills: testBed.kills, surprises };
    return result;
  } finally {
    await testBed.close(result && isClean(result) ? undefined : join(folder, 'databases'));
  }
}

/** Injects faults, one to three at a time, until the time is over. */
async function injectFaults(testBed: TestBed, options: RunOptions): Promise<Pick<Result, 'faults' | 'leftOut'>> {
  const { combination, random, ms, log, faults = FAULTS } = options;
  const reason = (it: Fault) => it.inapplicable?.(combination, testBed.volume);
  const applicable = faults.filter((it) => !reason(it));
  const leftOut =
    testBed.volume.unfillable && faults.includes(diskFull) ? [`disk-full: ${testBed.volume.unfillable}`] : [];
  const alsoKilled = faults.includes(killed) ? KILL_PROBABILITY : 0;
  const times: Record<string, number> = {};
  const began = performance.now();
  const left = () => ms - (performance.now() - began);
  let remaining: Fault[] = [];
  while (applicable.length > 0 && left() > 1000) {
    if (remaining.length === 0)
      remaining = random.shuffled(applicable.flatMap((it) => Array<Fault>(it.weight ?? 1).fill(it)));
    const fault = remaining.pop()!;
    const lasts = Math.min(left(), random.between(...FAULT_MS));
    // A process on a full disk may exit with an error, so `rolling` comes without other faults.
    const others = applicable.filter((it) => ![fault, killed, rolling].includes(it));
    const also = fault === frozen ? 1 : fault === rolling ? 0 : SECOND_FAULT_PROBABILITY;
    const another = others.length > 0 && random.chance(also) ? [random.pick(others)] : [];
    const kills = fault !== killed && random.chance(alsoKilled) ? [killed] : [];
    const together = [fault, ...another, ...kills];
    const at = `${Math.round((performance.now() - began) / 1000)} s`;
    log(`${combination.name.padEnd(20)} ${at.padStart(6)}  ${together.map((it) => it.name).join(' + ')}`);
    if (together.some(({ hindersStart }) => hindersStart)) testBed.startHinderedUntil = Infinity;
    const outcomes = await Promise.allSettled(together.map((it) => it.run(testBed, random.fork(), lasts)));
    if (testBed.startHinderedUntil === Infinity) testBed.startHinderedUntil = performance.now();
    for (const [index, it] of outcomes.entries()) {
      const { name } = together[index]!;
      if (it.status === 'rejected') testBed.surprises.push(`${name}: ${(it.reason as Error).message}`);
      else if (it.value !== false) times[name] = (times[name] ?? 0) + 1;
    }
    await wait(Math.min(Math.max(0, left()), random.between(...PAUSE_MS)));
  }
  if (applicable.length === 0) await wait(ms);
  return { faults: times, leftOut };
}

/** Waits until no message is in flight. @returns false when that takes too long */
async function comeToRest(testBed: TestBed): Promise<boolean> {
  const deadline = performance.now() + MAX_REST_WAIT_MS;
  let since = performance.now();
  while (performance.now() < deadline) {
    if ((await isBusy(testBed)) || [...testBed.deliveryProxies.values()].some(({ busy }) => busy))
      since = performance.now();
    if (performance.now() - since > QUIET_AT_REST_MS) return true;
    await wait(100);
  }
  return false;
}

async function isBusy({ databases }: TestBed): Promise<boolean> {
  const anyMessage = 'SELECT 1 AS n FROM mesh_outbox UNION ALL SELECT 1 FROM mesh_delivery LIMIT 1';
  // A database that can't be read now counts as busy.
  return select(databases, anyMessage).then(
    (rows) => rows.length > 0,
    () => true,
  );
}
