import { CommandHandler, EventBus } from '@nestjs/cqrs';
import type { CausedBy, DurableCommandBatchHandler } from '../../infrastructure/contracts/batch-handler.js';
import { today } from '../../infrastructure/observability/clock.js';
import { UnitOfWork } from '../../infrastructure/persistence/unit-of-work.js';
import { FreeDriver, DriverFreed } from './contract.js';
import { Occupancy } from './tables.js';

@CommandHandler(FreeDriver)
export class FreeDriverHandler implements DurableCommandBatchHandler<FreeDriver> {
  constructor(
    private readonly work: UnitOfWork,
    private readonly events: EventBus,
  ) {}

  async executeMany(commands: readonly FreeDriver[], causedBy: CausedBy<FreeDriver>): Promise<void> {
    const forGood = commands.filter(({ data }) => data.attempt === undefined);
    const rows = forGood.map(({ subject: transitId, data: { driverId } }): Occupancy => {
      return { driverId, transitId, state: 'FREED', attempt: null, freedOn: today() };
    });
    // An upsert, so that FREED also wins over an OccupyDriver that comes later.
    if (rows.length > 0) await this.work.repository(Occupancy).upsert(rows, ['driverId', 'transitId']);
    for (const command of forGood) {
      const { driverId } = command.data;
      causedBy(command, () => void this.events.publish(new DriverFreed(command.subject, { driverId })));
    }
    for (const { subject: transitId, data } of commands) {
      const { driverId, attempt } = data;
      if (attempt !== undefined) await this.takeBack({ driverId, transitId, attempt });
    }
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
