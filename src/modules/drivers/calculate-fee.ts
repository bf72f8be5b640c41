import { CommandHandler, EventBus } from '@nestjs/cqrs';
import type { DurableCommandHandler } from '../../infrastructure/contracts/message.js';
import { insertOnce } from '../../infrastructure/persistence/insert-once.js';
import { UnitOfWork } from '../../infrastructure/persistence/unit-of-work.js';
import { CalculateFee, DriverFeeCalculated, DriverFeeRefused } from './contract.js';
import { driverFee } from './driver.js';
import { findDriver } from './read-driver.js';
import { TransitFee } from './tables.js';

@CommandHandler(CalculateFee)
export class CalculateFeeHandler implements DurableCommandHandler<CalculateFee> {
  constructor(
    private readonly work: UnitOfWork,
    private readonly events: EventBus,
  ) {}

  async execute({ subject: transitId, data: { driverId, transitPrice } }: CalculateFee): Promise<void> {
    const driver = await findDriver(this.work, driverId);
    if (!driver) {
      this.events.publish(new DriverFeeRefused(transitId, { driverId, reason: `There is no driver ${driverId}` }));
      return;
    }
    const fees = this.work.repository(TransitFee);
    const row = { transitId, driverId, price: transitPrice, fee: driverFee(driver.fee, transitPrice) };
    // The answer has the fee that was stored first: the agreement may have changed since.
    for (const { driverId: paid, fee } of await insertOnce(fees, [row], ['transitId']))
      this.events.publish(new DriverFeeCalculated(transitId, { driverId: paid, fee }));
  }
}
