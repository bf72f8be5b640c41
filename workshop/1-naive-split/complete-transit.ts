import { Injectable } from '@nestjs/common';
import type { Address } from '../../src/modules/geolocation/contract.js';
import type { Coordinates } from '../../src/modules/geolocation/distance.js';
import type { Driver, Transit } from '../0-legacy/tables.js';
import { Remote } from './remote.js';

@Injectable()
export class TransitService {
  constructor(private readonly remote: Remote) {}

  /** The twelve operations of step 0 in the same order, as remote calls. No transaction spans them. */
  async completeTransit(transitId: string, reached: Address): Promise<Transit> {
    const { remote } = this;
    // 1. save the destination
    const { id: destinationId } = await remote.call<{ id: string }>('geolocation', 'save-address', reached);
    // 2. find the ride
    const transit = await remote.call<Transit>('rides', 'find-transit', { transitId });
    // 3. find its driver
    const driver = await remote.call<Driver>('drivers', 'find-driver', { driverId: transit.driverId });
    // 4., 5. locate both ends of the ride
    const { at: from } = await remote.call<Located>('geolocation', 'locate-address', { id: transit.pickupId });
    const { at: to } = await remote.call<Located>('geolocation', 'locate-address', { id: destinationId });
    // 6. complete it
    const ends = { from, to, destinationId, destination: reached };
    const { price } = await remote.call<{ price: number }>('rides', 'complete-transit', { transitId, ...ends });
    // 7. calculate the driver's fee
    const ride = { driverId: driver.id, transitPrice: price };
    const { fee: driverFee } = await remote.call<{ fee: number }>('drivers', 'calculate-fee', ride);
    // 8. free the driver
    await remote.call('drivers', 'free-driver', { driverId: driver.id });
    // 9. update the details that the ride's page shows
    const completed = await remote.call<Transit>('rides', 'update-details', { transitId, driverFee });
    // 10. credit the client's miles
    await remote.call('loyalty', 'register-miles', { transitId, clientId: transit.clientId });
    // 11. write the invoice
    await remote.call('invoicing', 'generate-invoice', { transitId, amount: price, subjectName: transit.clientName });
    // 12. notify the analyzer
    await remote.call('rides', 'transit-completed', { transitId });
    return completed;
  }
}

interface Located {
  readonly at?: Coordinates;
}
