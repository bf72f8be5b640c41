import type { TransitView } from './contract.js';
import type { Transit } from './tables.js';

/** A ride as it is shown. */
export function transitView({
  pickupId,
  pickup,
  destinationId,
  destination,
  distanceMetres,
  ...rest
}: Transit): TransitView {
  const { id, status, clientId, driverId, tariff, startedAt, price, driverFee, completedAt } = rest;
  return {
    ...{ id, status, clientId, driverId, from: { id: pickupId, ...pickup }, to: { id: destinationId, ...destination } },
    ...{ distanceKm: distanceMetres / 1000, tariff, startedAt },
    ...(price !== null && { price }),
    ...(driverFee !== null && { driverFee }),
    ...(completedAt !== null && { completedAt }),
  };
}
