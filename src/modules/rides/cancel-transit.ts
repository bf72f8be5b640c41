import { Command, CommandBus, CommandHandler, type ICommandHandler } from '@nestjs/cqrs';
import { Clock } from '../../infrastructure/observability/clock.js';
import { UnitOfWork } from '../../infrastructure/persistence/unit-of-work.js';
import { FreeDriver } from '../drivers/contract.js';
import { Transits, transitView, type TransitView } from './transits.store.js';

/** The ride isn't wanted any more; its driver, if it has one, is free again. */
export class CancelTransit extends Command<TransitView> {
  constructor(readonly transitId: string) {
    super();
  }
}

@CommandHandler(CancelTransit)
export class CancelTransitHandler implements ICommandHandler<CancelTransit> {
  constructor(
    private readonly work: UnitOfWork,
    private readonly rides: Transits,
    private readonly commands: CommandBus,
    private readonly clock: Clock,
  ) {}

  async execute({ transitId }: CancelTransit): Promise<TransitView> {
    return this.work.run(async () => {
      const changes = { status: 'CANCELLED', cancelledAt: this.clock.now().toISOString() } as const;
      const ride = await this.rides.change(transitId, 'cancel', changes);
      if (ride.driverId !== null) await this.commands.execute(new FreeDriver(transitId, { driverId: ride.driverId }));
      return transitView(ride);
    });
  }
}
