import { CommandHandler, EventBus } from '@nestjs/cqrs';
import type { DurableCommandHandler } from '../../infrastructure/contracts/message.js';
import { today } from '../../infrastructure/observability/clock.js';
import { UnitOfWork } from '../../infrastructure/persistence/unit-of-work.js';
import { FreeDriver, DriverFreed } from './contract.js';
import { Occupancy } from './tables.js';

@CommandHandler(FreeDriver)
export class FreeDriverHandler implements DurableCommandHandler<FreeDriver> {
  constructor(
    private readonly work: UnitOfWork,
    private readonly events: EventBus,
  ) {}

  async execute({ subject: transitId, data: { driverId, attempt } }: FreeDriver): Promise<void> {
    if (attempt !== undefined) return this.takeBack({ driverId, transitId, attempt });
    // An upsert, so that FREED also wins over an OccupyDriver that comes later.
    const freed = { driverId, transitId, state: 'FREED', attempt: null, freedOn: today() } as const;
    await this.work.repository(Occupancy).upsert(freed, ['driverId', 'transitId']);
    this.events.publish(new DriverFreed(transitId, { driverId }));
  }

  /** Frees the driver, unless a later attempt has occupied them. A driver who was freed for all attempts stays so. */
  private async takeBack(of: { driverId: number; transitId: string; attempt: number }): Promise<void> {
    const freed = { ...of, state: 'FREED' as const, freedOn: today() };
    const occupancies = this.work.repository(Occupancy).createQueryBuilder();
    await occupancies.insert().values(freed).orIgnore().execute();
    await occupancies
      .update()
      .set(freed)
      .where('driverId = :driverId AND transitId = :transitId', of)
      .andWhere(`(attempt <= :attempt OR (attempt IS NULL AND state = 'OCCUPIED'))`)
      .execute();
  }
}
