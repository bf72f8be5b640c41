import { CommandHandler, type ICommandHandler } from '@nestjs/cqrs';
import { NotFound } from '../../../src/infrastructure/contracts/domain-errors.js';
import { driverFee } from '../../../src/modules/drivers/driver.js';
import { Transactions } from '../../shared/transactions.js';
import { Messages } from '../messages.js';
import { CalculateFee, DriverFeeCalculated } from './contract.js';
import { Driver } from './tables.js';

@CommandHandler(CalculateFee)
export class CalculateFeeHandler implements ICommandHandler<CalculateFee> {
  constructor(
    private readonly transactions: Transactions,
    private readonly messages: Messages,
  ) {}

  async execute({ data: { transitId, driverId, transitPrice } }: CalculateFee): Promise<void> {
    await this.transactions.run(async (manager) => {
      const driver = await manager.findOneBy(Driver, { id: driverId });
      if (!driver) throw new NotFound(`There is no driver ${driverId}`, 'driverId');
      this.messages.publish(new DriverFeeCalculated({ transitId, fee: driverFee(driver.fee, transitPrice) }));
    });
  }
}
