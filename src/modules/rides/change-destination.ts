import { Command, CommandBus, CommandHandler, QueryBus, type ICommandHandler } from '@nestjs/cqrs';
import { UnitOfWork } from '../../infrastructure/persistence/unit-of-work.js';
import { addressId, MeasureRoute, UpdateDestination, type Address } from '../geolocation/contract.js';
import { Transits, transitView, type TransitView } from './transits.store.js';
import { priceCents } from './tariff.js';

/** Changes the planned destination, and with it the estimated price. */
export class ChangeDestination extends Command<TransitView> {
  constructor(
    readonly transitId: string,
    readonly destination: Address,
  ) {
    super();
  }
}

@CommandHandler(ChangeDestination)
export class ChangeDestinationHandler implements ICommandHandler<ChangeDestination> {
  constructor(
    private readonly work: UnitOfWork,
    private readonly transits: Transits,
    private readonly commands: CommandBus,
    private readonly queries: QueryBus,
  ) {}

  async execute({ transitId, destination }: ChangeDestination): Promise<TransitView> {
    const { pickup: from } = await this.transits.get(transitId);
    const { distanceMetres } = await this.queries.execute(new MeasureRoute({ from, to: destination }));
    return this.work.run(async () => {
      const { tariff } = await this.transits.get(transitId);
      const transit = await this.transits.change(transitId, 'changeDestination', {
        destination,
        destinationId: addressId(destination),
        distanceMetres,
        estimatedPrice: priceCents(distanceMetres, tariff),
        wholeIn: '',
      });
      await this.commands.execute(new UpdateDestination(transitId, { from, destination }));
      return transitView(transit);
    });
  }
}
