import { DEMO_RIDE, PICKUP, PLANNED } from '../../demo.js';
import { seeding } from '../../seeding.js';
import { addressId } from './contract.js';
import { addressHash, UNKNOWN_DISTANCE_METRES } from './distance.js';
import { KeptAddress, Route } from './tables.js';

/** The pickup and the planned destination of the ride of the demo, and their distance. */
export const GeolocationSeed = seeding(async (work) => {
  const rows = [PICKUP, PLANNED].map((address) => ({
    id: addressId(address),
    hash: addressHash(address),
    address,
    latitude: null,
    longitude: null,
  }));
  await work.repository(KeptAddress).createQueryBuilder().insert().values(rows).orIgnore().execute();
  const route = { transitId: DEMO_RIDE, addressId: addressId(PLANNED), distanceMetres: UNKNOWN_DISTANCE_METRES };
  await work.repository(Route).createQueryBuilder().insert().values(route).orIgnore().execute();
});
