import { Command, CommandBus, CommandHandler, type ICommandHandler } from '@nestjs/cqrs';
import { Clock } from '../../infrastructure/observability/clock.js';
import { Conflict } from '../../infrastructure/contracts/domain-errors.js';
import { UnitOfWork } from '../../infrastructure/persistence/unit-of-work.js';
import { addressId, type Address } from '../geolocation/contract.js';
import { CompleteTransit } from './contract.js';
import type { Transit } from './tables.js';
import { unansweredCommands } from './transit-effects.js';
import { assertAllows, assertAssigned, Transits, transitView, type TransitView } from './transits.store.js';

/**
 * "This ride is over". The user can say it even when all other modules are unavailable: it is stored here, in one unit of
 * work with the command that settles it, and needs no query.
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
    private readonly transits: Transits,
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
      const changed = await this.transits.changeIf({ id: transitId, status: 'IN_TRANSIT' }, completing);
      const transit = changed ?? (await this.transits.get(transitId));
      assertAssigned(transit, driverId);
      if (changed) {
        await this.commands.execute(new CompleteTransit(transitId, { transitId, destination: reached }));
      } else {
        assertRepeat(transit, reachedId);
        // The first commands or their answers may be lost.
        for (const command of unansweredCommands(transit)) await this.commands.execute(command);
      }
      return transitView(transit);
    });
  }
}

/** Accepts the same destination again. @throws Conflict for another one, or when the transit isn't in transit */
function assertRepeat(transit: Transit, reachedId: string): void {
  if (transit.reachedId === reachedId) return;
  if (transit.reachedId)
    throw new Conflict(`Transit ${transit.id} has ended at another destination: read it to see where`);
  assertAllows(transit, 'complete');
}
