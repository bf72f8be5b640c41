import { Injectable } from '@nestjs/common';
import { NotFound } from '../../src/infrastructure/contracts/domain-errors.js';
import { driverFee } from '../../src/modules/drivers/driver.js';
import { Transactions } from '../shared/transactions.js';
import { Driver } from './tables.js';

@Injectable()
export class DriverService {
  constructor(private readonly transactions: Transactions) {}

  /** @throws NotFound */
  async get(id: number): Promise<Driver> {
    const driver = await this.transactions.manager.findOneBy(Driver, { id });
    if (!driver) throw new NotFound(`There is no driver ${id}`, 'driverId');
    return driver;
  }

  /** Cents. */
  calculateFee({ fee }: Driver, price: number): number {
    return driverFee(fee, price);
  }

  async markNotOccupied(id: number): Promise<void> {
    await this.transactions.manager.update(Driver, { id }, { occupied: false });
  }
}
