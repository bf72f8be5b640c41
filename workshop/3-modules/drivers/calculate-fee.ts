import { CommandHandler, type ICommandHandler } from '@nestjs/cqrs';
import { NotFound } from '../../../src/infrastructure/contracts/domain-errors.js';
import { driverFee } from '../../../src/modules/drivers/driver.js';
import { Transactions } from '../../shared/transactions.js';
import { CalculateFee } from './contract.js';
import { Driver } from './tables.js';

@CommandHandler(CalculateFee)
export class CalculateFeeHandler implements ICommandHandler<CalculateFee> {
  constructor(private readonly transactions: Transactions) {}

  async execute({ data: { driverId, transitPrice } }: CalculateFee) {
    const driver = await this.transactions.manager.findOneBy(Driver, { id: driverId });
    if (!driver) throw new NotFound(`There is no driver ${driverId}`, 'driverId');
    return { fee: driverFee(driver.fee, transitPrice) };
  }
}
