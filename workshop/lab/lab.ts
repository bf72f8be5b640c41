import { cpus, totalmem } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ROOT } from '../../tools/source.js';
import { House } from '../runner/house.js';
import { manyRides, putUnderWay, type UnderWay } from '../runner/roster.js';
import { needsBuild, type Step } from '../runner/steps.js';
import { expectations, type Expectation } from './expectations.js';
import { FAILING, type Fault, type Size } from './faults.js';
import { isSuccess, Users, type Answer } from './load.js';
import { comeToRest, effectsOf, isWhole, tracesOf } from './outcomes.js';
import { percentile } from './statistics.js';

/** What one fault did to one step. All of it is counted: answers by the users, the rest in the databases. */
export interface Outcome {
  readonly step: number;
  readonly fault: string;
  /** Users who said once that their ride is over. */
  readonly requests: number;
  /** Those who were answered with success. */
  readonly answered: number;
  /** Of the wait of all users, in ms. */
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Rides whose user was told that all is well, and that aren't completed after everything has come to rest. */
  readonly lost: number;
  /** Effects that completed rides lack: fee, freedom of the driver, miles, invoice. */
  readonly missing: number;
  /** Invoices and miles beyond the first of a ride. */
  readonly duplicated: number;
  /** Rides that still aren't completed, with all that follows, after their users have asked once more without the fault. */
  readonly stuck: number;
  /** From the last answer until nothing moved any more, in ms. */
  readonly restMs: number;
  /** Whether it came to rest at all. */
  readonly rested: boolean;
}

/** A fault that a step can't have. */
export interface Inapplicable {
  readonly step: number;
  readonly fault: string;
  readonly why: string;
}

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly node: string;
}

export interface Report {
  /** UTC. */
  readonly date: string;
  readonly machine: Machine;
  readonly isQuick: boolean;
  /** Seconds that it took. */
  readonly seconds: number;
  readonly steps: readonly { readonly number: number; readonly title: string }[];
  readonly faults: readonly { readonly name: string; readonly title: string }[];
  readonly outcomes: readonly Outcome[];
  readonly inapplicable: readonly Inapplicable[];
  /** Remote calls that a ride takes when nothing is wrong, by step. */
  readonly callsPerRide: Readonly<Record<number, number>>;
  readonly failingProbability: number;
  readonly expectations: readonly Expectation[];
}

export interface LabOptions {
  readonly steps: readonly Step[];
  readonly faults: readonly Fault[];
  readonly size: Size;
  readonly isQuick: boolean;
  /** A folder for databases. */
  readonly data: string;
  /** The first of the ports. */
  readonly port: number;
  /** What is being done, as parts of the whole. */
  readonly progress?: (done: number, all: number, what: string) => void;
  /** What has come out. */
  readonly told?: (outcome: Outcome) => void;
}

const AGENT = pathToFileURL(join(ROOT, 'workshop/lab/agent.mjs')).href;
const APPLICATION = pathToFileURL(join(ROOT, 'dist/modules/invoicing/issue-invoice.js')).href;
/** Rides that are completed before anything is measured. */
const WARM_UP = 30;

/** Runs steps under faults: real processes on real databases, one step after the other. */
export async function runLab(options: LabOptions): Promise<Report> {
  const began = Date.now();
  const { steps, faults, progress = () => undefined, told = () => undefined } = options;
  const outcomes: Outcome[] = [];
  const inapplicable: Inapplicable[] = [];
  const callsPerRide: Record<number, number> = {};
  const all = steps.length * faults.length;
  let done = 0;
  for (const step of steps) {
    progress(done, all, `step ${step.number}, ${step.title}: starting`);
    const bench = await Bench.open(step, options);
    try {
      await bench.warmUp();
      for (const fault of faults) {
        const why = fault.inapplicable?.(step);
        if (why) inapplicable.push({ step: step.number, fault: fault.name, why });
        else {
          progress(done, all, `step ${step.number}, ${step.title}: ${fault.title}`);
          const outcome = await bench.measure(fault, options.size);
          outcomes.push(outcome);
          told(outcome);
        }
        done++;
      }
      if (step.remote) callsPerRide[step.number] = bench.callsPerRide;
    } finally {
      await bench.close();
    }
  }
  const measured = { outcomes, callsPerRide, failingProbability: FAILING };
  return {
    ...{ date: new Date().toISOString(), machine: thisMachine(), isQuick: options.isQuick },
    seconds: Math.round((Date.now() - began) / 1000),
    steps: steps.map(({ number, title }) => ({ number, title })),
    faults: faults.map(({ name, title }) => ({ name, title })),
    ...{ ...measured, inapplicable, expectations: expectations(measured) },
  };
}

/** A step under measurement. */
export class Bench {
  callsPerRide = 0;
  private runs = 0;
  private readonly users: Users;
  private calls: (() => void)[] = [];
  private counted = 0;

  private constructor(private readonly house: House) {
    this.users = new Users(house.url);
  }

  static async open(step: Step, { data, port }: Pick<LabOptions, 'data' | 'port'>): Promise<Bench> {
    let bench: Bench | undefined = undefined;
    const house = await House.open(step, {
      ...{ data, port, hear: (message) => bench?.hear(message as { calls?: number }) },
      environment: {
        // Of the application's log only what would be printed in vain.
        ...{ LOG_LEVEL: 'fatal', NODE_OPTIONS: `--import=${AGENT}` },
        ...(step.remote && { WORKSHOP_REMOTE: step.remote.source }),
        ...(needsBuild(step) && { WORKSHOP_APPLICATION: APPLICATION }),
      },
    });
    bench = new Bench(house);
    return bench;
  }

  /** Lets the code become as fast as it gets, and counts the remote calls of a ride. */
  async warmUp(): Promise<void> {
    const before = await this.countCalls();
    await this.users.inTurn(this.prepare(WARM_UP), 4);
    await this.rest();
    this.callsPerRide = ((await this.countCalls()) - before) / WARM_UP;
  }

  async measure(fault: Fault, size: Size): Promise<Outcome> {
    const { house, users } = this;
    const rides = this.prepare(fault.rides(size));
    const answers = await fault.run({ house, users }, rides);
    const began = performance.now();
    const rested = await this.rest();
    const restMs = performance.now() - began;
    house.tellAll({ faults: {} });
    const traces = tracesOf(house.ledgers, rides);
    const waits = answers.map(({ ms }) => ms);
    const unfinished = rides.filter(({ id }) => !isWhole(traces.get(id)!));
    return {
      ...{ step: house.step.number, fault: fault.name, requests: answers.length, restMs, rested },
      ...{ answered: answers.filter(isSuccess).length, p50Ms: percentile(waits, 0.5), p99Ms: percentile(waits, 0.99) },
      lost: answers.filter((it: Answer) => isSuccess(it) && !traces.get(it.ride.id)!.isCompleted).length,
      ...effectsOf(traces.values()),
      stuck: await this.askAgain(unfinished),
    };
  }

  async close(): Promise<void> {
    await this.users.leave();
    await this.house.close();
  }

  private prepare(howMany: number): UnderWay[] {
    const rides = manyRides(++this.runs, howMany);
    putUnderWay(this.house.ledgers, rides);
    return rides;
  }

  private rest(): Promise<boolean> {
    return comeToRest(this.house.step, this.house.ledgers);
  }

  /** @returns how many of them aren't whole even then */
  private async askAgain(rides: readonly UnderWay[]): Promise<number> {
    if (rides.length === 0) return 0;
    await this.users.inTurn(rides, 4);
    await this.rest();
    return [...tracesOf(this.house.ledgers, rides).values()].filter((trace) => !isWhole(trace)).length;
  }

  private async countCalls(): Promise<number> {
    const { planned } = this.house;
    this.counted = 0;
    const answered = Promise.all(planned.map(() => new Promise<void>((resolve) => this.calls.push(resolve))));
    this.house.ask({ howManyCalls: true });
    await answered;
    return this.counted;
  }

  private hear({ calls }: { calls?: number }): void {
    if (calls === undefined) return;
    this.counted += calls;
    this.calls.shift()?.();
  }
}

function thisMachine(): Machine {
  const [cpu] = cpus();
  return {
    ...{ cpu: cpu?.model.trim() ?? 'unknown', cores: cpus().length, node: process.version },
    memoryGiB: Math.round(totalmem() / 2 ** 30),
  };
}
