import { Command, CommandHandler, type ICommandHandler } from '@nestjs/cqrs';
import { Clock } from '../../infrastructure/observability/clock.js';
import { UnitOfWork } from '../../infrastructure/persistence/unit-of-work.js';
import { Transits, transitView, type TransitView } from './transits.store.js';

/** Offers the transit to drivers. */
export class PublishTransit extends Command<TransitView> {
  constructor(readonly transitId: string) {
    super();
  }
}

@CommandHandler(PublishTransit)
export class PublishTransitHandler implements ICommandHandler<PublishTransit> {
  constructor(
    private readonly work: UnitOfWork,
    private readonly transits: Transits,
    private readonly clock: Clock,
  ) {}

  async execute({ transitId }: PublishTransit): Promise<TransitView> {
    const changes = { status: 'WAITING_FOR_DRIVER_ASSIGNMENT', publishedAt: this.clock.now().toISOString() } as const;
    return this.work.run(async () => transitView(await this.transits.change(transitId, 'publish', changes)));
  }
}
