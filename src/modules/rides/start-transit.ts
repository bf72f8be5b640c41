import { Inject } from '@nestjs/common';
import { Command, CommandHandler, type ICommandHandler } from '@nestjs/cqrs';
import { ridesConfig, type Settings } from '../../config-namespaces.js';
import { Clock } from '../../infrastructure/observability/clock.js';
import { UnitOfWork } from '../../infrastructure/persistence/unit-of-work.js';
import { assertAssigned, Transits, transitView, type TransitView } from './transits.store.js';
import { chooseTariff, localTime } from './tariff.js';

/** The passenger is in the car. The tariff of this hour applies. */
export class StartTransit extends Command<TransitView> {
  constructor(
    readonly transitId: string,
    readonly driverId?: number,
  ) {
    super();
  }
}

@CommandHandler(StartTransit)
export class StartTransitHandler implements ICommandHandler<StartTransit> {
  constructor(
    private readonly work: UnitOfWork,
    private readonly transits: Transits,
    private readonly clock: Clock,
    @Inject(ridesConfig.KEY) private readonly settings: Settings<typeof ridesConfig>,
  ) {}

  async execute({ transitId, driverId }: StartTransit): Promise<TransitView> {
    const now = this.clock.now();
    const tariff = chooseTariff(localTime(now, this.settings.tariffTimeZone));
    return this.work.run(async () => {
      assertAssigned(await this.transits.get(transitId), driverId);
      const changes = { status: 'IN_TRANSIT', tariff, startedAt: now.toISOString() } as const;
      return transitView(await this.transits.change(transitId, 'start', changes));
    });
  }
}
