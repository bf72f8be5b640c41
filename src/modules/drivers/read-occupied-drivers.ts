import { QueryHandler, type IQueryHandler } from '@nestjs/cqrs';
import { UnitOfWork } from '../../infrastructure/persistence/unit-of-work.js';
import { ReadOccupiedDrivers } from './contract.js';
import { Occupancy } from './tables.js';

@QueryHandler(ReadOccupiedDrivers)
export class ReadOccupiedDriversHandler implements IQueryHandler<ReadOccupiedDrivers> {
  constructor(private readonly work: UnitOfWork) {}

  async execute({ data: { after, limit } }: ReadOccupiedDrivers) {
    const occupancies = await this.work
      .repository(Occupancy)
      .createQueryBuilder('occupancy')
      // A literal state: with a parameter SQLite doesn't use the index of open transits.
      .where(`occupancy.state = 'OCCUPIED' AND occupancy.driverId > :after`, { after })
      .orderBy('occupancy.driverId')
      .take(limit)
      .getMany();
    return occupancies.map(({ driverId, transitId, attempt }) => ({
      driverId,
      transitId,
      ...(attempt && { attempt }),
    }));
  }
}
