import { CommandBus, CommandHandler, EventBus, QueryBus, type ICommandHandler } from '@nestjs/cqrs';
import { Conflict, NotFound } from '../../../src/infrastructure/contracts/domain-errors.js';
import { addressId } from '../../../src/modules/geolocation/contract.js';
import { priceCents } from '../../../src/modules/rides/tariff.js';
import { Transactions } from '../../shared/transactions.js';
import { CalculateFee, FreeDriver } from '../drivers/contract.js';
import { MeasureRoute, SaveAddress } from '../geolocation/contract.js';
import { IssueInvoice } from '../invoicing/contract.js';
import { RegisterMiles } from '../loyalty/contract.js';
import { CompleteTransit, TransitCompleted, type TransitView } from './contract.js';
import { Transit } from './tables.js';
import { transitView } from './transit-view.js';

@CommandHandler(CompleteTransit)
export class CompleteTransitHandler implements ICommandHandler<CompleteTransit> {
  constructor(
    private readonly transactions: Transactions,
    private readonly commands: CommandBus,
    private readonly queries: QueryBus,
    private readonly events: EventBus,
  ) {}

  /**
   * Does the work of step 0 in one transaction and in the same order, but reaches other modules only through the buses.
   * @throws NotFound, or Conflict when the ride isn't in transit
   */
  async execute({ data: { transitId, destination } }: CompleteTransit): Promise<TransitView> {
    const transit = await this.transactions.run(async (manager) => {
      const destinationId = addressId(destination);
      await this.commands.execute(new SaveAddress({ address: destination }));
      const transit = await manager.findOneBy(Transit, { id: transitId });
      if (!transit) throw new NotFound(`There is no transit ${transitId}`, 'id');
      if (transit.status !== 'IN_TRANSIT') throw new Conflict(`Transit ${transitId} is ${transit.status}`);
      const { driverId, clientId, clientName, pickupId } = transit;
      const route = new MeasureRoute({ fromId: pickupId, toId: destinationId });
      const { distanceMetres } = await this.queries.execute(route);
      const price = priceCents(distanceMetres, transit.tariff);
      const { fee: driverFee } = await this.commands.execute(new CalculateFee({ driverId, transitPrice: price }));
      await this.commands.execute(new FreeDriver({ driverId }));
      const completedAt = new Date().toISOString();
      const completed = { status: 'COMPLETED', distanceMetres, price, driverFee, completedAt };
      await manager.save(Object.assign(transit, { ...completed, destinationId, destination }));
      await this.commands.execute(new RegisterMiles({ transitId, clientId }));
      await this.commands.execute(new IssueInvoice({ transitId, amount: price, subjectName: clientName }));
      return transit;
    });
    const { clientId, pickupId: fromId, destinationId: toId, completedAt } = transit;
    this.events.publish(new TransitCompleted({ transitId, clientId, fromId, toId, completedAt: completedAt! }));
    return transitView(transit);
  }
}
