import { Injectable } from '@nestjs/common';
import { Conflict, NotFound } from '../../src/infrastructure/contracts/domain-errors.js';
import type { Address } from '../../src/modules/geolocation/contract.js';
import { distanceMetres } from '../../src/modules/geolocation/distance.js';
import { priceCents } from '../../src/modules/rides/tariff.js';
import { Transactions } from '../shared/transactions.js';
import { AddressRepository } from './address.repository.js';
import { AwardsService } from './awards.service.js';
import { DriverService } from './driver.service.js';
import { InvoiceGenerator } from './invoice.generator.js';
import type { Transit } from './tables.js';
import { TransitAnalyzer } from './transit.analyzer.js';
import { TransitRepository } from './transit.repository.js';

@Injectable()
export class TransitService {
  constructor(
    private readonly transactions: Transactions,
    private readonly addresses: AddressRepository,
    private readonly transits: TransitRepository,
    private readonly drivers: DriverService,
    private readonly awards: AwardsService,
    private readonly invoices: InvoiceGenerator,
    private readonly analyzer: TransitAnalyzer,
  ) {}

  /**
   * The ride is over: all that follows from it happens in one transaction, or nothing of it.
   * @param reached where it really ended
   * @throws NotFound, or Conflict when the ride isn't in transit
   */
  async completeTransit(transitId: string, reached: Address): Promise<Transit> {
    const transit = await this.transactions.run(async () => {
      // 1. keep the destination
      const destinationId = await this.addresses.save(reached);
      // 2. the ride
      const transit = await this.transits.find(transitId);
      if (!transit) throw new NotFound(`There is no transit ${transitId}`, 'id');
      // 3. its driver
      const driver = await this.drivers.get(transit.driverId);
      // 4., 5. both ends of it
      const from = await this.addresses.locate(transit.pickupId);
      const to = await this.addresses.locate(destinationId);
      // 6. complete it
      if (transit.status !== 'IN_TRANSIT') throw new Conflict(`Transit ${transitId} is ${transit.status}`);
      transit.distanceMetres = distanceMetres(from, to);
      transit.price = priceCents(transit.distanceMetres, transit.tariff);
      transit.status = 'COMPLETED';
      Object.assign(transit, { destinationId, destination: reached });
      // 7. the driver's fee
      const driverFee = this.drivers.calculateFee(driver, transit.price);
      // 8. he is free again
      await this.drivers.markNotOccupied(driver.id);
      // 9. all of it on the ride's page
      Object.assign(transit, { driverFee, completedAt: new Date().toISOString() });
      await this.transits.save(transit);
      // 10. miles
      await this.awards.registerMiles(transit.clientId, transitId);
      // 11. the invoice
      await this.invoices.generate(transitId, transit.price, transit.clientName);
      return transit;
    });
    // 12. tell the analyzer, which has no part in the transaction
    await this.analyzer.transitCompleted(transit);
    return transit;
  }
}
