import { CommandHandler, type ICommandHandler } from '@nestjs/cqrs';
import { milesForTransit } from '../../../src/modules/loyalty/miles.js';
import { Transactions } from '../../shared/transactions.js';
import { RegisterMiles } from './contract.js';
import { AwardedMiles, AwardsAccount } from './tables.js';

@CommandHandler(RegisterMiles)
export class RegisterMilesHandler implements ICommandHandler<RegisterMiles> {
  constructor(private readonly transactions: Transactions) {}

  /** A client without an active account gets no miles, which is not an error. */
  async execute({ data: { transitId, clientId } }: RegisterMiles): Promise<void> {
    await this.transactions.run(async (manager) => {
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
    });
  }
}
