import type { Delivery } from './delivery-rows.js';

/** The attempts of a delivery with the present one. */
export function attemptsWith({ attempts, isWaiting, isCounted }: Delivery): number {
  // The wait of a waiting delivery counts as an attempt in its row.
  return attempts + (isWaiting || isCounted ? 0 : 1);
}
