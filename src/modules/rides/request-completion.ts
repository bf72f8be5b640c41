import { Command, CommandBus, CommandHandler, type ICommandHandler } from '@nestjs/cqrs';
import { Clock } from '../../infrastructure/observability/clock.js';
import { Conflict } from '../../infrastructure/contracts/domain-errors.js';
import { UnitOfWork } from '../../infrastructure/persistence/unit-of-work.js';
import { addressId, type Address } from '../geolocation/contract.js';
import { CompleteTransit } from './contract.js';
import { assertAssigned, Transits, transitView, type TransitView } from './transits.store.js';

/**
 * "This ride is over": the one thing that the user has to be able to say, whatever is out of order. It is kept here,
 * in one unit of work with the command that settles it; nobody else is asked.
 */
export class RequestCompletion extends Command<TransitView> {
  constructor(
    readonly transitId: string,
    readonly reached: Address,
    readonly driverId?: number,
  ) {
    super();
  }
}

@CommandHandler(RequestCompletion)
export class RequestCompletionHandler implements ICommandHandler<RequestCompletion> {
  constructor(
    private readonly work: UnitOfWork,
    private readonly rides: Transits,
    private readonly commands: CommandBus,
    private readonly clock: Clock,
  ) {}

  async execute({ transitId, reached, driverId }: RequestCompletion): Promise<TransitView> {
    const reachedId = addressId(reached);
    return this.work.run(async () => {
      const completing = {
        status: 'COMPLETING',
        reached,
        reachedId,
        completingAt: this.clock.now().toISOString(),
      } as const;
      assertAssigned(await this.rides.get(transitId), driverId);
      if (await this.rides.changeIf({ id: transitId, status: 'IN_TRANSIT' }, completing)) {
        await this.commands.execute(new CompleteTransit(transitId, { transitId, destination: reached }));
      } else {
        await this.assertRepeat(transitId, reachedId);
      }
      return transitView(await this.rides.get(transitId));
    });
  }

  /** Saying the same again is harmless. */
  private async assertRepeat(transitId: string, reachedId: string): Promise<void> {
    const ride = await this.rides.get(transitId);
    if (ride.reachedId === reachedId) return;
    if (ride.reachedId) throw new Conflict(`Transit ${transitId} has ended at another destination`);
    await this.rides.assertAllows(transitId, 'complete');
  }
}
