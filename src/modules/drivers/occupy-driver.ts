import { CommandHandler, EventBus } from '@nestjs/cqrs';
import type { DurableCommandHandler } from '../../infrastructure/contracts/message.js';
import { MAX_ID } from '../../infrastructure/contracts/schemas.js';
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

  async execute({ subject: transitId, data: { driverId, attempt } }: OccupyDriver): Promise<void> {
    const reason = await this.refusal(driverId, transitId, attempt);
    const about = { driverId, ...(attempt !== undefined && { attempt }) };
    if (reason) this.events.publish(new DriverRefused(transitId, { ...about, reason }));
    else this.events.publish(new DriverOccupied(transitId, about));
  }

  private async refusal(driverId: number, transitId: string, attempt = 0): Promise<string | undefined> {
    const driver = await findDriver(this.work, driverId);
    if (!driver) return `There is no driver ${driverId}`;
    const occupancies = this.work.repository(Occupancy);
    const id = { driverId, transitId };
    const known = await occupancies.findOneBy(id);
    if (known?.state === 'OCCUPIED') {
      if (attempt > (known.attempt ?? 0)) await occupancies.update(id, { attempt });
      return undefined;
    }
    if (known && attempt <= (known.attempt ?? MAX_ID)) return 'The transit has freed the driver already';
    if (driver.status !== 'ACTIVE') return 'The driver is not active';
    if (known) await occupancies.delete({ ...id, state: 'FREED' });
    // The unique index on open transits decides: a driver with another open transit gets no row.
    await this.add({ ...id, state: 'OCCUPIED', attempt: attempt || null });
    if (await occupancies.existsBy({ ...id, state: 'OCCUPIED' })) return undefined;
    if (known) await this.add(known);
    return 'The driver has another open transit';
  }

  private async add(row: Occupancy): Promise<void> {
    await this.work.repository(Occupancy).createQueryBuilder().insert().values(row).orIgnore().execute();
  }
}
