import { CommandHandler, type ICommandHandler } from '@nestjs/cqrs';
import { Transactions } from '../../shared/transactions.js';
import { FreeDriver } from './contract.js';
import { Driver } from './tables.js';

@CommandHandler(FreeDriver)
export class FreeDriverHandler implements ICommandHandler<FreeDriver> {
  constructor(private readonly transactions: Transactions) {}

  async execute({ data: { driverId } }: FreeDriver): Promise<void> {
    await this.transactions.run((manager) => manager.update(Driver, { id: driverId }, { occupied: false }));
  }
}
