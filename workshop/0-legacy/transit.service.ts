import { Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { DataSource, Repository } from 'typeorm';
import { Conflict, NotFound } from '../../src/infrastructure/contracts/domain-errors.js';
import type { Address } from '../../src/modules/geolocation/contract.js';
import { distanceMetres } from '../../src/modules/geolocation/distance.js';
import { priceCents } from '../../src/modules/rides/tariff.js';
import { TransactionQueue } from '../shared/transaction-queue.js';
import { AddressRepository } from './address.repository.js';
import { AwardsService } from './awards.service.js';
import { DriverService } from './driver.service.js';
import { InvoiceGenerator } from './invoice.generator.js';
import { Transit } from './tables.js';
import { TransitAnalyzer } from './transit.analyzer.js';

@Injectable()
export class TransitService {
  constructor(
    private readonly dataSource: DataSource,
    private readonly queue: TransactionQueue,
    @InjectRepository(Transit) private readonly transits: Repository<Transit>,
    private readonly addresses: AddressRepository,
    private readonly drivers: DriverService,
    private readonly awards: AwardsService,
    private readonly invoices: InvoiceGenerator,
    private readonly analyzer: TransitAnalyzer,
  ) {}

  /** @throws NotFound */
  async find(id: string, manager = this.transits.manager): Promise<Transit> {
    const transit = await manager.findOneBy(Transit, { id });
    if (!transit) throw new NotFound(`There is no transit ${id}`, 'id');
    return transit;
  }

  /**
   * Completes a ride and everything that follows from it, in one transaction.
   * @param reached where the ride really ended
   * @throws NotFound, or Conflict when the ride isn't in transit
   */
  async completeTransit(transitId: string, reached: Address): Promise<Transit> {
    const transit = await this.queue.run(() =>
      this.dataSource.transaction(async (manager) => {
        // 1. save the destination
        const destinationId = await this.addresses.save(reached, manager);
        // 2. find the ride
        const transit = await this.find(transitId, manager);
        // 3. find its driver
        const driver = await this.drivers.get(transit.driverId, manager);
        // 4., 5. locate both ends of the ride
        const from = await this.addresses.locate(transit.pickupId, manager);
        const to = await this.addresses.locate(destinationId, manager);
        // 6. complete it
        if (transit.status !== 'IN_TRANSIT') throw new Conflict(`Transit ${transitId} is ${transit.status}`);
        transit.distanceMetres = distanceMetres(from, to);
        transit.price = priceCents(transit.distanceMetres, transit.tariff);
        transit.status = 'COMPLETED';
        Object.assign(transit, { destinationId, destination: reached });
        // 7. calculate the driver's fee
        const driverFee = this.drivers.calculateFee(driver, transit.price);
        // 8. free the driver
        await this.drivers.markNotOccupied(driver.id, manager);
        // 9. update the details that the ride's page shows
        Object.assign(transit, { driverFee, completedAt: new Date().toISOString() });
        await manager.save(transit);
        // 10. credit the client's miles
        await this.awards.registerMiles(transit.clientId, transitId, manager);
        // 11. write the invoice
        await this.invoices.generate(transitId, transit.price, transit.clientName, manager);
        return transit;
      }),
    );
    // 12. notify the analyzer, which is not part of the transaction
    await this.analyzer.transitCompleted(transit);
    return transit;
  }
}
