import { Command, CommandHandler, QueryBus, type ICommandHandler } from '@nestjs/cqrs';
import { NotFound } from '../../infrastructure/contracts/domain-errors.js';
import { UnitOfWork } from '../../infrastructure/persistence/unit-of-work.js';
import { ReadDriver } from '../drivers/contract.js';
import { Transits, transitView, type TransitView } from './transits.store.js';
import { Rejection } from './tables.js';

/** A driver rejects the transit, and can't accept it any more. */
export class RejectTransit extends Command<TransitView> {
  constructor(
    readonly transitId: string,
    readonly driverId: number,
  ) {
    super();
  }
}

@CommandHandler(RejectTransit)
export class RejectTransitHandler implements ICommandHandler<RejectTransit> {
  constructor(
    private readonly work: UnitOfWork,
    private readonly transits: Transits,
    private readonly queries: QueryBus,
  ) {}

  async execute({ transitId, driverId }: RejectTransit): Promise<TransitView> {
    const driver = await this.queries.execute(new ReadDriver({ driverId }));
    if (!driver) throw new NotFound(`There is no driver ${driverId}`, 'driverId');
    return this.work.run(async () => {
      const transit = await this.transits.assertAllows(transitId, 'reject');
      const rejections = this.work.repository(Rejection).createQueryBuilder();
      await rejections.insert().values({ transitId, driverId }).orIgnore().execute();
      return transitView(transit);
    });
  }
}
