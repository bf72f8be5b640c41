import { QueryHandler, type IQueryHandler } from '@nestjs/cqrs';
import { In } from 'typeorm';
import { UnitOfWork } from '../../../src/infrastructure/persistence/unit-of-work.js';
import { ReadAwards, ReadTransitMiles } from '../../../src/modules/loyalty/contract.js';
import { balance } from '../../../src/modules/loyalty/miles.js';
import { AwardedMiles, AwardsAccount } from './tables.js';

@QueryHandler(ReadAwards)
export class ReadAwardsHandler implements IQueryHandler<ReadAwards> {
  constructor(private readonly work: UnitOfWork) {}

  async execute({ data: { clientId } }: ReadAwards) {
    const account = await this.work.repository(AwardsAccount).findOneBy({ clientId });
    if (!account) return null;
    const granted = await this.work.repository(AwardedMiles).findBy({ clientId });
    const grants = granted.map(({ miles, expiresAt }) => ({
      miles,
      expiresAt: expiresAt ? Date.parse(expiresAt) : null,
    }));
    const { active, transactions } = account;
    return { clientId, active, transactions, balance: balance(grants, Date.now()) };
  }
}

@QueryHandler(ReadTransitMiles)
export class ReadTransitMilesHandler implements IQueryHandler<ReadTransitMiles> {
  constructor(private readonly work: UnitOfWork) {}

  async execute({ data: { transitIds } }: ReadTransitMiles) {
    const credited = await this.work.repository(AwardedMiles).findBy({ transitId: In(transitIds) });
    return credited.map(({ transitId, miles }) => ({ transitId, miles }));
  }
}
