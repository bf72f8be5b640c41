import { cpus, totalmem } from 'node:os';
import type { Step } from '../runner/steps.js';
import { Bench } from './bench.js';
import { expectations, type Expectation } from './expectations.js';
import { FAILING, type Fault, type Size } from './faults.js';

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

function thisMachine(): Machine {
  const [cpu] = cpus();
  return {
    ...{ cpu: cpu?.model.trim() ?? 'unknown', cores: cpus().length, node: process.version },
    memoryGiB: Math.round(totalmem() / 2 ** 30),
  };
}
