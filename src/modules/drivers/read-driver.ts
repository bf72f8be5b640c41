import { QueryHandler, type IQueryHandler } from '@nestjs/cqrs';
import { UnitOfWork } from '../../infrastructure/persistence/unit-of-work.js';
import { MAX_ID } from '../../infrastructure/contracts/schemas.js';
import { ReadDriver } from './contract.js';
import { Driver, Occupancy } from './tables.js';

@QueryHandler(ReadDriver)
export class ReadDriverHandler implements IQueryHandler<ReadDriver> {
  constructor(private readonly work: UnitOfWork) {}

  async execute({ data: { driverId } }: ReadDriver) {
    const driver = await findDriver(this.work, driverId);
    return driver && driverView(this.work, driver);
  }
}

export async function findDriver(work: UnitOfWork, driverId: number): Promise<Driver | null> {
  return driverId > MAX_ID ? null : work.repository(Driver).findOneBy({ id: driverId });
}

/** A driver as the API shows it. */
export async function driverView(work: UnitOfWork, { id, ...driver }: Driver) {
  const occupied = await work.repository(Occupancy).existsBy({ driverId: id, state: 'OCCUPIED' });
  const { firstName, lastName, driverLicense, status, fee } = driver;
  return { id, firstName, lastName, driverLicense, status, fee, occupied };
}
