import { CommandHandler, EventBus } from '@nestjs/cqrs';
import { In } from 'typeorm';
import type { CausedBy, DurableCommandBatchHandler } from '../../infrastructure/contracts/batch-handler.js';
import { MAX_ID } from '../../infrastructure/contracts/schemas.js';
import { insertOnce } from '../../infrastructure/persistence/insert-once.js';
import { UnitOfWork } from '../../infrastructure/persistence/unit-of-work.js';
import { CalculateFee, DriverFeeCalculated, DriverFeeRefused } from './contract.js';
import { driverFee } from './driver.js';
import { Driver, TransitFee } from './tables.js';

@CommandHandler(CalculateFee)
export class CalculateFeeHandler implements DurableCommandBatchHandler<CalculateFee> {
  constructor(
    private readonly work: UnitOfWork,
    private readonly events: EventBus,
  ) {}

  async executeMany(commands: readonly CalculateFee[], causedBy: CausedBy<CalculateFee>): Promise<void> {
    const ids = commands.map(({ data }) => data.driverId).filter((id) => id <= MAX_ID);
    const found = await this.work.repository(Driver).findBy({ id: In([...new Set(ids)]) });
    const drivers = new Map(found.map((driver) => [driver.id, driver]));
    const rows = commands.flatMap(({ subject: transitId, data: { driverId, transitPrice: price } }): TransitFee[] => {
      const driver = drivers.get(driverId);
      return driver ? [{ transitId, driverId, price, fee: driverFee(driver.fee, price) }] : [];
    });
    // The answer has the fee that was stored first: the agreement may have changed since.
    const stored = await insertOnce(this.work.repository(TransitFee), rows, ['transitId']);
    const fees = new Map(stored.map((fee) => [fee.transitId, fee]));
    for (const command of commands) causedBy(command, () => this.answer(command, fees.get(command.subject)));
  }

  private answer({ subject: transitId, data: { driverId } }: CalculateFee, stored: TransitFee | undefined): void {
    if (stored) {
      const { driverId: paid, fee } = stored;
      this.events.publish(new DriverFeeCalculated(transitId, { driverId: paid, fee }));
    } else {
      this.events.publish(new DriverFeeRefused(transitId, { driverId, reason: `There is no driver ${driverId}` }));
    }
  }
}
