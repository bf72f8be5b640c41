import type { Combination } from './combinations.js';
import type { Random } from './random.js';
import type { Stand } from './test-bed.js';
import type { Volume } from './volume.js';

/** Something that goes wrong. */
export interface Fault {
  readonly name: string;
  readonly title: string;
  /** Whether a process may fail to start meanwhile: it needs its database then, as it does at no other time. */
  readonly hindersStarting?: boolean;
  /** How often it comes before any comes again; once unless told. */
  readonly share?: number;
  /** Why a combination can't have it. */
  inapplicable?(combination: Combination, volume: Volume): string | undefined;
  /**
   * Lets it go wrong, and takes it away again.
   * @param ms for about so long
   * @returns false when it did not come about
   */
  run(stand: Stand, random: Random, ms: number): Promise<void | false>;
}
