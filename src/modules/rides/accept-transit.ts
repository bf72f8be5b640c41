import { Command, CommandBus, CommandHandler, QueryBus, type ICommandHandler } from '@nestjs/cqrs';
import { Conflict, NotFound } from '../../infrastructure/contracts/domain-errors.js';
import { Clock } from '../../infrastructure/observability/clock.js';
import { UnitOfWork } from '../../infrastructure/persistence/unit-of-work.js';
import { OccupyDriver, ReadDriver } from '../drivers/contract.js';
import { Rejection } from './tables.js';
import { unansweredCommands } from './transit-effects.js';
import { Transits, transitView, type TransitView } from './transits.store.js';

/** A driver accepts the transit. It is assigned when the drivers module has confirmed that they are free. */
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
    private readonly transits: Transits,
    private readonly commands: CommandBus,
    private readonly queries: QueryBus,
    private readonly clock: Clock,
  ) {}

  async execute({ transitId, driverId }: AcceptTransit): Promise<TransitView> {
    const transit = await this.transits.get(transitId);
    const isRepeat = transit.driverId === driverId && ['ACCEPTING', 'TRANSIT_TO_PASSENGER'].includes(transit.status);
    if (isRepeat) {
      // The first OccupyDriver or its answer may be lost.
      for (const command of unansweredCommands(transit)) await this.commands.execute(command);
      return transitView(transit);
    }
    await this.assertFree(driverId);
    return this.work.run(async () => {
      if (await this.work.repository(Rejection).existsBy({ transitId, driverId })) {
        throw new Conflict(`Driver ${driverId} has rejected this transit: another driver must accept it`, 'driverId');
      }
      const acceptedAt = this.clock.now().toISOString();
      const changes = { status: 'ACCEPTING', driverId, acceptedAt, attempt: () => 'attempt + 1' } as const;
      const accepting = await this.transits.change(transitId, 'accept', changes);
      await this.commands.execute(new OccupyDriver(transitId, { driverId, attempt: accepting.attempt }));
      return transitView(accepting);
    });
  }

  /** Refuses most conflicts at once. The confirmation of the drivers module decides. */
  private async assertFree(driverId: number): Promise<void> {
    const driver = await this.queries.execute(new ReadDriver({ driverId }));
    if (!driver) throw new NotFound(`There is no driver ${driverId}`, 'driverId');
    if (driver.status !== 'ACTIVE')
      throw new Conflict(`Driver ${driverId} is not active: activate them first`, 'driverId');
    if (driver.occupied)
      throw new Conflict(`Driver ${driverId} has another open transit: end or cancel it first`, 'driverId');
  }
}
