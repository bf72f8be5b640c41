import { CommandHandler, EventBus } from '@nestjs/cqrs';
import type { DurableCommandHandler } from '../../infrastructure/contracts/message.js';
import { UnitOfWork } from '../../infrastructure/persistence/unit-of-work.js';
import { DriverOccupied, OccupyDriver, DriverRefused } from './contract.js';
import { findDriver } from './read-driver.js';
import { Occupancy } from './tables.js';

@CommandHandler(OccupyDriver)
export class OccupyDriverHandler implements DurableCommandHandler<OccupyDriver> {
  constructor(
    private readonly work: UnitOfWork,
    private readonly events: EventBus,
  ) {}

  async execute({ subject: transitId, data: { driverId } }: OccupyDriver): Promise<void> {
    const reason = await this.refusal(driverId, transitId);
    if (reason) this.events.publish(new DriverRefused(transitId, { driverId, reason }));
    else this.events.publish(new DriverOccupied(transitId, { driverId }));
  }

  private async refusal(driverId: number, transitId: string): Promise<string | undefined> {
    const driver = await findDriver(this.work, driverId);
    if (!driver) return `There is no driver ${driverId}`;
    const occupancies = this.work.repository(Occupancy);
    const known = await occupancies.findOneBy({ driverId, transitId });
    if (known) return known.state === 'FREED' ? 'The transit has freed the driver already' : undefined;
    if (driver.status !== 'ACTIVE') return 'The driver is not active';
    const row = { driverId, transitId, state: 'OCCUPIED' as const };
    // The unique index on open transits decides: a driver with another open transit gets no row.
    await occupancies.createQueryBuilder().insert().values(row).orIgnore().execute();
    const occupied = await occupancies.findOneBy(row);
    return occupied ? undefined : 'The driver has another open transit';
  }
}
