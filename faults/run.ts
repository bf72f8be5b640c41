import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { manyRides, rideRows } from '../workshop/runner/fixtures.js';
import { insert, select } from './databases.js';
import type { Combination } from './combinations.js';
import { clock, failing, slow } from './consumers.js';
import { cut, duplicated, reordered } from './connections.js';
import { count, readBooks, type Verdict } from './count.js';
import { brokerKilled, frozen, killed, postgresKilled, rolling } from './kills.js';
import type { Fault } from './fault.js';
import { Ledger } from './ledger.js';
import type { Random } from './random.js';
import { Stand } from './test-bed.js';
import { diskFull, locked } from './storage.js';
import { Users } from './users.js';

export const FAULTS: readonly Fault[] = [
  ...[killed, rolling, brokerKilled, postgresKilled, frozen, cut, diskFull, locked, clock],
  ...[duplicated, reordered, slow, failing],
];

/** How long a fault lasts, and the quiet before the next one, in ms. */
const FAULT_MS = [2500, 7000] as const;
const QUIET_MS = [0, 1200] as const;
/**
 * The probabilities that something else goes wrong at the same time, and that processes are killed meanwhile. Beside a
 * process that stands still there is always something: it takes long.
 */
const ALSO_ANOTHER = 0.4;
const ALSO_KILLED = 0.7;
/** Users who are there when all is well again may go on asking for so long, in ms. */
const LAST_ORDERS_MS = 30_000;
/** Nothing more happens when nothing has been on its way for so long; and the longest wait for that, in ms. */
const REST_MS = 2000;
const LONGEST_REST_MS = 90_000;
/** Rides of one client, which all change his account. */
const RIDES_PER_CLIENT = 10;

export interface Result extends Verdict {
  readonly combination: string;
  readonly kills: number;
  /** How often each fault was there. */
  readonly faults: Readonly<Record<string, number>>;
  /** What went otherwise than it may, beside what is counted. */
  readonly surprises: readonly string[];
  /** Why faults were left out. */
  readonly leftOut: readonly string[];
}

export interface TrialOptions {
  readonly combination: Combination;
  readonly random: Random;
  /** How long things go wrong, in ms; starting, coming to rest and counting come on top. */
  readonly ms: number;
  /** Of the run of this combination. */
  readonly folder: string;
  /** The faults it is about; all that apply unless told. */
  readonly faults?: readonly Fault[];
  readonly tell: (line: string) => void;
  /** Does something to the databases before users come: for the proof that what is wrong then is found. */
  readonly spoil?: (stand: Stand) => Promise<void>;
  /** The same before they are counted. */
  readonly plant?: (stand: Stand) => Promise<void>;
}

/** Where nobody was told anything, nothing is shown. */
export function isClean({ accepted, lost, duplicated, stuck, dead, disordered, surprises }: Result): boolean {
  return accepted > 0 && lost + duplicated + stuck + dead + disordered + surprises.length === 0;
}

/** Runs one combination under load and faults, and counts. @throws Error when it doesn't start at all */
export async function run(options: TrialOptions): Promise<Result> {
  const { combination, random, ms, folder, tell } = options;
  const stand = await Stand.open(combination, folder, random.fork());
  let result: Result | undefined;
  try {
    const ledger = new Ledger(join(folder, 'ledger.jsonl'));
    const rides = manyRides(1, Math.ceil((combination.perSecond * ms) / 1000) + 10).map((ride, index) => {
      return { ...ride, clientId: ride.clientId - (index % RIDES_PER_CLIENT) };
    });
    for (const rows of rideRows(rides, 'modules')) {
      const home = stand.moduleDatabases.find(({ name }) => name === rows.owner || name === 'cabs')!;
      await insert(home, rows);
    }
    await options.spoil?.(stand);
    const users = new Users(stand.urls, ledger, random.fork());
    const load = users.come(rides, combination.perSecond);
    const told = await goWrong(stand, options);
    await stand.mend().catch((error: Error) => stand.surprises.push(error.message));
    await users.close(LAST_ORDERS_MS);
    await load;
    const rested = await comeToRest(stand);
    if (!rested) tell(`${combination.name.padEnd(20)} has not come to rest`);
    await stand.endProcesses();
    await options.plant?.(stand);
    const verdict = count(ledger, await readBooks(stand.moduleDatabases, stand.databases));
    const surprises = [...ledger.surprises, ...stand.surprises];
    result = { ...verdict, ...told, combination: combination.name, kills: stand.kills, surprises };
    return result;
  } finally {
    await stand.close(result && isClean(result) ? undefined : join(folder, 'databases'));
  }
}

/** Lets things go wrong, one or some at a time, until the time is over. */
async function goWrong(stand: Stand, options: TrialOptions): Promise<Pick<Result, 'faults' | 'leftOut'>> {
  const { combination, random, ms, tell, faults = FAULTS } = options;
  const reason = (it: Fault) => it.inapplicable?.(combination, stand.volume);
  const applicable = faults.filter((it) => !reason(it));
  const leftOut = stand.volume.unfillable && faults.includes(diskFull) ? [`disk-full: ${stand.volume.unfillable}`] : [];
  const alsoKilled = faults.includes(killed) ? ALSO_KILLED : 0;
  const times: Record<string, number> = {};
  const began = performance.now();
  const left = () => ms - (performance.now() - began);
  let bag: Fault[] = [];
  while (applicable.length > 0 && left() > 1000) {
    if (bag.length === 0) bag = random.shuffled(applicable.flatMap((it) => Array<Fault>(it.share ?? 1).fill(it)));
    const fault = bag.pop()!;
    const lasts = Math.min(left(), random.between(...FAULT_MS));
    // Who is asked to end shall end in order; nobody promises that of a process whose disk is full.
    const others = applicable.filter((it) => ![fault, killed, rolling].includes(it));
    const also = fault === frozen ? 1 : fault === rolling ? 0 : ALSO_ANOTHER;
    const another = others.length > 0 && random.chance(also) ? [random.pick(others)] : [];
    const dying = fault !== killed && random.chance(alsoKilled) ? [killed] : [];
    const together = [fault, ...another, ...dying];
    const at = `${Math.round((performance.now() - began) / 1000)} s`;
    tell(`${combination.name.padEnd(20)} ${at.padStart(6)}  ${together.map((it) => it.name).join(' + ')}`);
    if (together.some(({ hindersStarting }) => hindersStarting)) stand.hinderedUntil = Infinity;
    const outcomes = await Promise.allSettled(together.map((it) => it.run(stand, random.fork(), lasts)));
    if (stand.hinderedUntil === Infinity) stand.hinderedUntil = performance.now();
    for (const [index, it] of outcomes.entries()) {
      const { name } = together[index]!;
      if (it.status === 'rejected') stand.surprises.push(`${name}: ${(it.reason as Error).message}`);
      else if (it.value !== false) times[name] = (times[name] ?? 0) + 1;
    }
    await wait(Math.min(Math.max(0, left()), random.between(...QUIET_MS)));
  }
  if (applicable.length === 0) await wait(ms);
  return { faults: times, leftOut };
}

/** Waits until no message is on its way. @returns whether that was reached */
async function comeToRest(stand: Stand): Promise<boolean> {
  const deadline = performance.now() + LONGEST_REST_MS;
  let since = performance.now();
  while (performance.now() < deadline) {
    if ((await isBusy(stand)) || [...stand.couriers.values()].some(({ busy }) => busy)) since = performance.now();
    if (performance.now() - since > REST_MS) return true;
    await wait(100);
  }
  return false;
}

async function isBusy({ databases }: Stand): Promise<boolean> {
  const some = 'SELECT 1 AS n FROM mesh_outbox UNION ALL SELECT 1 FROM mesh_delivery LIMIT 1';
  // One that can't be read now is not at rest.
  return select(databases, some).then(
    (rows) => rows.length > 0,
    () => true,
  );
}
