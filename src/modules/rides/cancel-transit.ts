import { Command, CommandBus, CommandHandler, type ICommandHandler } from '@nestjs/cqrs';
import { Clock } from '../../infrastructure/observability/clock.js';
import { UnitOfWork } from '../../infrastructure/persistence/unit-of-work.js';
import { FreeDriver } from '../drivers/contract.js';
import { unansweredCommands } from './transit-effects.js';
import { Transits, transitView, type TransitView } from './transits.store.js';

/** Cancels a transit, and frees its driver if it has one. It may be repeated until the driver is confirmed as free. */
export class CancelTransit extends Command<TransitView> {
  constructor(readonly transitId: string) {
    super();
  }
}

@CommandHandler(CancelTransit)
export class CancelTransitHandler implements ICommandHandler<CancelTransit> {
  constructor(
    private readonly work: UnitOfWork,
    private readonly transits: Transits,
    private readonly commands: CommandBus,
    private readonly clock: Clock,
  ) {}

  async execute({ transitId }: CancelTransit): Promise<TransitView> {
    return this.work.run(async () => {
      const found = await this.transits.get(transitId);
      // The first FreeDriver or its answer may be lost.
      const again = found.status === 'CANCELLED' ? unansweredCommands(found) : [];
      for (const command of again) await this.commands.execute(command);
      if (again.length > 0) return transitView(found);
      const changes = { status: 'CANCELLED', cancelledAt: this.clock.now().toISOString() } as const;
      const transit = await this.transits.change(transitId, 'cancel', changes);
      if (transit.driverId !== null)
        await this.commands.execute(new FreeDriver(transitId, { driverId: transit.driverId }));
      return transitView(transit);
    });
  }
}
