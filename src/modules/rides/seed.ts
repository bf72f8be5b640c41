import { DEMO_CLIENT, DEMO_DRIVER, DEMO_RIDE, PICKUP, PLANNED } from '../../demo.js';
import { seeding } from '../../seeding.js';
import { addressId } from '../geolocation/contract.js';
import { Transit } from './tables.js';
import { chooseTariff, priceCents } from './tariff.js';
import { invoiceSubject } from './transit.js';

const DISTANCE_METRES = 42_000;
/** A fixed Tuesday evening, so that the ride of the demo always costs the same. */
const STARTED_AT = '2025-02-04T16:48:00.000Z';

/** The ride of the demo, ready to be completed. */
export const RidesSeed = seeding(async (work) => {
  const tariff = chooseTariff({ month: 2, day: 4, weekday: 2, hour: 17 });
  const transit: Partial<Transit> = {
    id: DEMO_RIDE,
    status: 'IN_TRANSIT',
    clientId: DEMO_CLIENT.id,
    clientName: invoiceSubject(DEMO_CLIENT),
    carClass: 'REGULAR',
    driverId: DEMO_DRIVER,
    pickupId: addressId(PICKUP),
    pickup: PICKUP,
    destinationId: addressId(PLANNED),
    destination: PLANNED,
    distanceMetres: DISTANCE_METRES,
    tariff,
    estimatedPrice: priceCents(DISTANCE_METRES, tariff),
    requestedAt: '2025-02-04T16:35:00.000Z',
    publishedAt: '2025-02-04T16:36:00.000Z',
    acceptedAt: '2025-02-04T16:38:00.000Z',
    startedAt: STARTED_AT,
  };
  await work.repository(Transit).createQueryBuilder().insert().values(transit).orIgnore().execute();
});
