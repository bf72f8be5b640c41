import type { TransitView } from './contract.js';
import type { Transit } from './tables.js';

/** A ride as the API shows it. */
export function transitView(transit: Transit): TransitView {
  const { id, status, clientId, driverId, tariff, startedAt, price, driverFee, completedAt } = transit;
  return {
    id,
    status,
    clientId,
    driverId,
    from: { id: transit.pickupId, ...transit.pickup },
    to: { id: transit.destinationId, ...transit.destination },
    distanceKm: transit.distanceMetres / 1000,
    tariff,
    startedAt,
    ...(price !== null && { price }),
    ...(driverFee !== null && { driverFee }),
    ...(completedAt !== null && { completedAt }),
  };
}
