import { Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { Repository, type EntityManager } from 'typeorm';
import { NotFound } from '../../src/infrastructure/contracts/domain-errors.js';
import { driverFee } from '../../src/modules/drivers/driver.js';
import { Driver } from './tables.js';

@Injectable()
export class DriverService {
  constructor(@InjectRepository(Driver) private readonly drivers: Repository<Driver>) {}

  /** @throws NotFound */
  async get(id: number, manager = this.drivers.manager): Promise<Driver> {
    const driver = await manager.findOneBy(Driver, { id });
    if (!driver) throw new NotFound(`There is no driver ${id}`, 'driverId');
    return driver;
  }

  /** Cents. */
  calculateFee({ fee }: Driver, price: number): number {
    return driverFee(fee, price);
  }

  async markNotOccupied(id: number, manager: EntityManager): Promise<void> {
    await manager.update(Driver, { id }, { occupied: false });
  }
}
