import type { ServerResponse } from 'node:http';
import { ByteBudget } from '../http/byte-budget.js';
import { Slots } from '../http/slots.js';

/** Deliveries to one path that are handled at a time. Those to a slow consumer don't hold up the others. */
const SLOTS = 128;
/** Their bodies together, in bytes. */
const SMALL_BYTES = 512 * 1024;
/** A body of more bytes than this is large. */
const LARGE_BYTES = 64 * 1024;
/** Large bodies that are handled at a time, in bytes, for all paths: one of the largest. */
const ALL_LARGE_BYTES = 1024 * 1024;

/** Bounds how many deliveries are handled at a time, and how much memory they take up. */
export class IngressSlots {
  private readonly paths = new Map<string, { readonly slots: Slots; readonly small: ByteBudget }>();
  private readonly large = new ByteBudget(ALL_LARGE_BYTES);

  /** Runs `work` when there is room for a body of so many bytes; not at all when the sender has gone by then. */
  async run(path: string, bytes: number, response: ServerResponse, work: () => Promise<void>): Promise<void> {
    const found = this.paths.get(path) ?? { slots: new Slots(SLOTS), small: new ByteBudget(SMALL_BYTES) };
    this.paths.set(path, found);
    const budget = bytes > LARGE_BYTES ? this.large : found.small;
    await budget.run(response, bytes, () => found.slots.run(response, work));
  }
}
