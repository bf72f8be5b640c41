import { Command, CommandBus, CommandHandler, QueryBus, type ICommandHandler } from '@nestjs/cqrs';
import { Conflict, NotFound } from '../../infrastructure/contracts/domain-errors.js';
import { UnitOfWork } from '../../infrastructure/persistence/unit-of-work.js';
import { OccupyDriver, ReadDriver } from '../drivers/contract.js';
import { Transits, transitView, type TransitView } from './transits.store.js';
import { Rejection } from './tables.js';

/** A driver takes the ride; it is his once the drivers module has confirmed that he is free. */
export class AcceptTransit extends Command<TransitView> {
  constructor(
    readonly transitId: string,
    readonly driverId: number,
  ) {
    super();
  }
}

@CommandHandler(AcceptTransit)
export class AcceptTransitHandler implements ICommandHandler<AcceptTransit> {
  constructor(
    private readonly work: UnitOfWork,
    private readonly rides: Transits,
    private readonly commands: CommandBus,
    private readonly queries: QueryBus,
  ) {}

  async execute({ transitId, driverId }: AcceptTransit): Promise<TransitView> {
    const ride = await this.rides.get(transitId);
    const isRepeat = ride.driverId === driverId && ['ACCEPTING', 'TRANSIT_TO_PASSENGER'].includes(ride.status);
    if (isRepeat) return transitView(ride);
    await this.assertFree(driverId);
    return this.work.run(async () => {
      if (await this.work.repository(Rejection).existsBy({ transitId, driverId })) {
        throw new Conflict(`Driver ${driverId} has rejected this transit`, 'driverId');
      }
      const accepting = await this.rides.change(transitId, 'accept', { status: 'ACCEPTING', driverId });
      await this.commands.execute(new OccupyDriver(transitId, { driverId }));
      return transitView(accepting);
    });
  }

  /** A first look, so that most refusals come at once; the confirmation decides. */
  private async assertFree(driverId: number): Promise<void> {
    const driver = await this.queries.execute(new ReadDriver({ driverId }));
    if (!driver) throw new NotFound(`There is no driver ${driverId}`, 'driverId');
    if (driver.status !== 'ACTIVE') throw new Conflict(`Driver ${driverId} is not active`, 'driverId');
    if (driver.occupied) throw new Conflict(`Driver ${driverId} has another transit`, 'driverId');
  }
}
