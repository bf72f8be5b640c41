/* What the lab reports. These types import nothing, so that every file of the lab can use them. */

/** What one fault did to one step. Answers are counted by the users, all other counts come from the databases. */
export interface Outcome {
  readonly step: number;
  readonly fault: string;
  /** Users; each completes one ride and asks once. */
  readonly requests: number;
  /** Users who were answered with success. */
  readonly answered: number;
  /** Users who were answered with success in less than the time that the fault `slow` adds to invoicing. */
  readonly prompt: number;
  /** Percentiles of the wait of all users, in ms. */
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** How late the timers of the lab itself fired under this load, 99th percentile, in ms. */
  readonly timerDelayMs: number;
  /** Share of the CPU that other programs used before and after the load, while the step was at rest: 0 to 1. */
  readonly otherCpu: number;
  /** Rides whose user was answered with success, and that are not completed when the step has come to rest. */
  readonly lost: number;
  /** Effects that completed rides lack: the driver's fee, the free driver, miles, invoice. */
  readonly missing: number;
  /** Invoices and miles beyond the first of a ride. */
  readonly duplicated: number;
  /** Rides that are still not settled after the fault is over and their users have asked once more. */
  readonly stuck: number;
  /** From the last answer until the step came to rest, in ms. */
  readonly restMs: number;
  /** Whether the step came to rest at all. */
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

/** `not measurable` means that the machine was too noisy to decide. */
export type Verdict = 'confirmed' | 'not confirmed' | 'not measurable';

/** A claim of the talk, and what the lab has measured about it. */
export interface Expectation {
  readonly claim: string;
  readonly verdict: Verdict;
  /** The figures. */
  readonly measured: string;
}

export interface Report {
  /** UTC. */
  readonly date: string;
  readonly machine: Machine;
  readonly isQuick: boolean;
  /** Duration of the run, in seconds. */
  readonly seconds: number;
  readonly steps: readonly { readonly number: number; readonly title: string }[];
  readonly faults: readonly { readonly name: string; readonly title: string }[];
  readonly outcomes: readonly Outcome[];
  readonly inapplicable: readonly Inapplicable[];
  /** Remote calls for one ride without a fault, by step. */
  readonly callsPerRide: Readonly<Record<number, number>>;
  readonly failingProbability: number;
  readonly expectations: readonly Expectation[];
}
