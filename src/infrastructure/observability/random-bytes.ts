import { randomFillSync } from 'node:crypto';

/** Fetched many at a time: a system call for each id would cost more than the rest of the id. */
let stock = Buffer.alloc(0);
let used = 0;

/** Random bytes that are handed out once. @param howMany at most 4096 */
export function randomBytes(howMany: number): Buffer {
  if (used + howMany > stock.length) {
    stock = randomFillSync(Buffer.alloc(4096));
    used = 0;
  }
  return stock.subarray(used, (used += howMany));
}
