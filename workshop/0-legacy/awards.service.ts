import { Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { Repository, type EntityManager } from 'typeorm';
import { NotFound } from '../../src/infrastructure/contracts/domain-errors.js';
import { balance, milesForTransit } from '../../src/modules/loyalty/miles.js';
import { AwardedMiles, AwardsAccount } from './tables.js';

@Injectable()
export class AwardsService {
  constructor(
    @InjectRepository(AwardsAccount) private readonly accounts: Repository<AwardsAccount>,
    @InjectRepository(AwardedMiles) private readonly miles: Repository<AwardedMiles>,
  ) {}

  /** Credits miles. A client without an active account gets none, which is not an error. */
  async registerMiles(clientId: number, transitId: string, manager: EntityManager): Promise<void> {
    const { affected } = await manager.increment(AwardsAccount, { clientId, active: true }, 'transactions', 1);
    if (!affected) return;
    const { miles, grantedAt, expiresAt } = milesForTransit(Date.now());
    await manager.insert(AwardedMiles, {
      transitId,
      clientId,
      miles,
      grantedAt: new Date(grantedAt).toISOString(),
      expiresAt: expiresAt === null ? null : new Date(expiresAt).toISOString(),
    });
  }

  /** @throws NotFound for a client without an account */
  async read(clientId: number) {
    const account = await this.accounts.findOneBy({ clientId });
    if (!account) throw new NotFound(`Client ${clientId} has no awards account`, 'id');
    const granted = await this.miles.findBy({ clientId });
    const grants = granted.map(({ miles, expiresAt }) => ({
      miles,
      expiresAt: expiresAt ? Date.parse(expiresAt) : null,
    }));
    return { ...account, balance: balance(grants, Date.now()) };
  }
}
