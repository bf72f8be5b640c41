import { CommandHandler, type ICommandHandler } from '@nestjs/cqrs';
import { Conflict, NotFound } from '../../../src/infrastructure/contracts/domain-errors.js';
import { addressId } from '../../../src/modules/geolocation/contract.js';
import { Transactions } from '../../shared/transactions.js';
import { UpdateDestination } from '../geolocation/contract.js';
import { Messages } from '../messages.js';
import { CompleteTransit, type TransitView } from './contract.js';
import { Transit } from './tables.js';
import { transitView } from './transit-view.js';

/** Records that the ride is over, which is all that the user waits for, and sends the first command. */
@CommandHandler(CompleteTransit)
export class CompleteTransitHandler implements ICommandHandler<CompleteTransit> {
  constructor(
    private readonly transactions: Transactions,
    private readonly messages: Messages,
  ) {}

  /** @throws NotFound, or Conflict when the ride isn't in transit */
  async execute({ data: { transitId, destination } }: CompleteTransit): Promise<TransitView> {
    return this.transactions.run(async (manager) => {
      const transit = await manager.findOneBy(Transit, { id: transitId });
      if (!transit) throw new NotFound(`There is no transit ${transitId}`, 'id');
      if (transit.status !== 'IN_TRANSIT') throw new Conflict(`Transit ${transitId} is ${transit.status}`);
      const ended = { status: 'COMPLETING', completedAt: new Date().toISOString() };
      Object.assign(transit, { ...ended, destination, destinationId: addressId(destination) });
      await manager.save(transit);
      this.messages.send(new UpdateDestination({ transitId, fromId: transit.pickupId, destination }));
      return transitView(transit);
    });
  }
}
