import { Controller, Get, Param } from '@nestjs/common';
import type { z } from 'zod';
import { NotFound } from '../../../src/infrastructure/contracts/domain-errors.js';
import { idParameter } from '../../../src/infrastructure/contracts/schemas.js';
import { balance } from '../../../src/modules/loyalty/miles.js';
import { Transactions } from '../../shared/transactions.js';
import { AwardedMiles, AwardsAccount } from './tables.js';

@Controller('clients/:id/awards')
export class LoyaltyController {
  constructor(private readonly transactions: Transactions) {}

  @Get()
  async read(@Param({ schema: idParameter }) { id: clientId }: z.infer<typeof idParameter>) {
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
