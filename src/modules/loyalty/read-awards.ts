import { QueryHandler, type IQueryHandler } from '@nestjs/cqrs';
import { In } from 'typeorm';
import { Clock } from '../../infrastructure/observability/clock.js';
import { UnitOfWork } from '../../infrastructure/persistence/unit-of-work.js';
import { MAX_ID } from '../../infrastructure/contracts/schemas.js';
import { ReadAwards, ReadTransitMiles } from './contract.js';
import { AwardedMiles, AwardsAccount } from './tables.js';

@QueryHandler(ReadAwards)
export class ReadAwardsHandler implements IQueryHandler<ReadAwards> {
  constructor(
    private readonly work: UnitOfWork,
    private readonly clock: Clock,
  ) {}

  async execute({ data: { clientId } }: ReadAwards) {
    if (clientId > MAX_ID) return null;
    const account = await this.work.repository(AwardsAccount).findOneBy({ clientId });
    return account && awardsView(this.work, account, this.clock.now());
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

/** An account and its balance. The database can compare the expiries as text, because they are UTC in ISO 8601. */
export async function awardsView(work: UnitOfWork, { clientId, active, transactions }: AwardsAccount, now: Date) {
  const { balance } = (await work
    .repository(AwardedMiles)
    .createQueryBuilder('granted')
    .select('COALESCE(SUM(granted.miles), 0)', 'balance')
    .where('granted.clientId = :clientId', { clientId })
    .andWhere('(granted.expiresAt IS NULL OR granted.expiresAt > :now)', { now: now.toISOString() })
    .getRawOne<{ balance: number | string }>())!;
  return { clientId, active, balance: Number(balance), transactions };
}
