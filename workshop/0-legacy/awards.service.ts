import { Injectable } from '@nestjs/common';
import { NotFound } from '../../src/infrastructure/contracts/domain-errors.js';
import { balance, milesForTransit } from '../../src/modules/loyalty/miles.js';
import { Transactions } from '../shared/transactions.js';
import { AwardedMiles, AwardsAccount } from './tables.js';

@Injectable()
export class AwardsService {
  constructor(private readonly transactions: Transactions) {}

  /** Nothing without an active account, and that is no error. */
  async registerMiles(clientId: number, transitId: string): Promise<void> {
    const { manager } = this.transactions;
    const { affected } = await manager.increment(AwardsAccount, { clientId, active: true }, 'transactions', 1);
    if (!affected) return;
    const { miles, grantedAt, expiresAt } = milesForTransit(Date.now());
    await manager.insert(AwardedMiles, {
      ...{ transitId, clientId, miles, grantedAt: new Date(grantedAt).toISOString() },
      expiresAt: expiresAt === null ? null : new Date(expiresAt).toISOString(),
    });
  }

  /** @throws NotFound for a client who has none */
  async read(clientId: number) {
    const { manager } = this.transactions;
    const account = await manager.findOneBy(AwardsAccount, { clientId });
    if (!account) throw new NotFound(`Client ${clientId} has no awards account`, 'id');
    const granted = await manager.findBy(AwardedMiles, { clientId });
    const grants = granted.map(({ miles, expiresAt }) => ({
      miles,
      expiresAt: expiresAt ? Date.parse(expiresAt) : null,
    }));
    return { ...account, balance: balance(grants, Date.now()) };
  }
}
