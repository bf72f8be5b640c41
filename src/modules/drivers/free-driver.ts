import { CommandHandler, EventBus } from '@nestjs/cqrs';
import type { DurableCommandHandler } from '../../infrastructure/contracts/message.js';
import { UnitOfWork } from '../../infrastructure/persistence/unit-of-work.js';
import { FreeDriver, DriverFreed } from './contract.js';
import { Occupancy } from './tables.js';

@CommandHandler(FreeDriver)
export class FreeDriverHandler implements DurableCommandHandler<FreeDriver> {
  constructor(
    private readonly work: UnitOfWork,
    private readonly events: EventBus,
  ) {}

  async execute({ subject: transitId, data: { driverId } }: FreeDriver): Promise<void> {
    // An upsert, so that FREED also wins over an OccupyDriver that comes later.
    await this.work.repository(Occupancy).upsert({ driverId, transitId, state: 'FREED' }, ['driverId', 'transitId']);
    this.events.publish(new DriverFreed(transitId, { driverId }));
  }
}
