import { Injectable } from '@nestjs/common';
import { priceCents } from '../../../src/modules/rides/tariff.js';
import { Transactions } from '../../shared/transactions.js';
import { CalculateFee, DriverFeeCalculated, FreeDriver } from '../drivers/contract.js';
import { DestinationUpdated } from '../geolocation/contract.js';
import { isNew } from '../inbox.js';
import { IssueInvoice } from '../invoicing/contract.js';
import { RegisterMiles } from '../loyalty/contract.js';
import { Messages } from '../messages.js';
import { TransitCompleted } from './contract.js';
import { Journey, Transit } from './tables.js';

/** Settles a ride that is over, one answer after the other. */
@Injectable()
export class SettleTransit {
  constructor(
    private readonly transactions: Transactions,
    private readonly messages: Messages,
  ) {
    messages.on(DestinationUpdated, (event) => this.complete(event));
    messages.on(DriverFeeCalculated, (event) => this.keepFee(event));
    messages.on(TransitCompleted, (event) => this.recordJourney(event));
  }

  private async complete({ data: { transitId, distanceMetres } }: DestinationUpdated): Promise<void> {
    await this.transactions.run(async (manager) => {
      const transit = await manager.findOneByOrFail(Transit, { id: transitId });
      if (transit.status !== 'COMPLETING') return;
      const price = priceCents(distanceMetres, transit.tariff);
      await manager.save(Object.assign(transit, { status: 'COMPLETED', distanceMetres, price }));
      const { driverId, clientId, clientName, pickupId: fromId, destinationId: toId, completedAt } = transit;
      this.messages.send(new CalculateFee({ transitId, driverId, transitPrice: price }));
      this.messages.send(new FreeDriver({ driverId }));
      this.messages.send(new RegisterMiles({ transitId, clientId }));
      this.messages.send(new IssueInvoice({ transitId, amount: price, subjectName: clientName }));
      this.messages.publish(new TransitCompleted({ transitId, clientId, fromId, toId, completedAt: completedAt! }));
    });
  }

  private async keepFee({ data: { transitId, fee } }: DriverFeeCalculated): Promise<void> {
    await this.transactions.run((manager) => manager.update(Transit, { id: transitId }, { driverFee: fee }));
  }

  /** Records who travelled from where to where, for the transit analyzer. */
  private async recordJourney({ data }: TransitCompleted): Promise<void> {
    await this.transactions.run(async (manager) => {
      if (await isNew(manager, 'analyzer')) await manager.insert(Journey, data);
    });
  }
}
