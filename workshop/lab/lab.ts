import { cpus, totalmem } from 'node:os';
import type { Step } from '../runner/steps.js';
import { expectations } from './expectations.js';
import { FAILING, type Fault, type Size } from './faults.js';
import type { Inapplicable, Machine, Outcome, Report } from './report.js';
import { TestBed } from './test-bed.js';

export interface LabOptions {
  readonly steps: readonly Step[];
  readonly faults: readonly Fault[];
  readonly size: Size;
  readonly isQuick: boolean;
  /** A folder for the databases. */
  readonly data: string;
  /** The first of 20 free ports. */
  readonly port: number;
  /** Called before each part of the run. */
  readonly onProgress?: (done: number, all: number, what: string) => void;
  /** Called after each measurement. */
  readonly onOutcome?: (outcome: Outcome) => void;
}

/** Runs each step under each fault, one after the other: real processes on real databases. */
export async function runLab(options: LabOptions): Promise<Report> {
  const began = Date.now();
  const { steps, faults, onProgress = () => undefined, onOutcome = () => undefined } = options;
  const outcomes: Outcome[] = [];
  const inapplicable: Inapplicable[] = [];
  const callsPerRide: Record<number, number> = {};
  const all = steps.length * faults.length;
  let done = 0;
  for (const step of steps) {
    onProgress(done, all, `step ${step.number}, ${step.title}: starting`);
    const testBed = await TestBed.open(step, options);
    try {
      await testBed.warmUp();
      for (const fault of faults) {
        const why = fault.inapplicable?.(step);
        if (why) inapplicable.push({ step: step.number, fault: fault.name, why });
        else {
          onProgress(done, all, `step ${step.number}, ${step.title}: ${fault.title}`);
          const outcome = await testBed.measure(fault, options.size);
          outcomes.push(outcome);
          onOutcome(outcome);
        }
        done++;
      }
      if (step.remote) callsPerRide[step.number] = testBed.callsPerRide;
    } finally {
      await testBed.close();
    }
  }
  return {
    date: new Date().toISOString(),
    machine: thisMachine(),
    isQuick: options.isQuick,
    seconds: Math.round((Date.now() - began) / 1000),
    steps: steps.map(({ number, title }) => ({ number, title })),
    faults: faults.map(({ name, title }) => ({ name, title })),
    outcomes,
    inapplicable,
    callsPerRide,
    failingProbability: FAILING,
    expectations: expectations({ outcomes, callsPerRide, failingProbability: FAILING }),
  };
}

function thisMachine(): Machine {
  const [cpu] = cpus();
  return {
    cpu: cpu?.model.trim() ?? 'unknown',
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    node: process.version,
  };
}
