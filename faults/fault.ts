import type { Combination } from './combinations.js';
import type { Random } from './random.js';
import type { TestBed } from './test-bed.js';
import type { Volume } from './volume.js';

/** A kind of fault that the rig injects. */
export interface Fault {
  readonly name: string;
  readonly title: string;
  /** Whether a process may fail to start during the fault, because it can't reach its database. */
  readonly hindersStart?: boolean;
  /** How often the fault is drawn before all faults are shuffled again; default 1. */
  readonly weight?: number;
  /** @returns why the fault can't be injected into a combination */
  inapplicable?(combination: Combination, volume: Volume): string | undefined;
  /**
   * Injects the fault for about `ms`, and ends its effects.
   * @returns false when the fault had no effect; it isn't counted then
   */
  run(testBed: TestBed, random: Random, ms: number): Promise<void | false>;
}
