import { PICKUP, PLANNED } from '../../demo.js';
import { seeding } from '../../seeding.js';
import { addressId } from './contract.js';
import { addressHash } from './distance.js';
import { KeptAddress } from './tables.js';

/** The pickup and the planned destination of the ride of the demo. */
export const GeolocationSeed = seeding(async (work) => {
  const rows = [PICKUP, PLANNED].map((address) => ({
    id: addressId(address),
    hash: addressHash(address),
    address,
    latitude: null,
    longitude: null,
  }));
  await work.repository(KeptAddress).createQueryBuilder().insert().values(rows).orIgnore().execute();
});
