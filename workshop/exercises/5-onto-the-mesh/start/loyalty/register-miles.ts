import { Command, CommandHandler, type ICommandHandler } from '@nestjs/cqrs';
import { milesForTransit } from '../../../src/modules/loyalty/miles.js';
import { Transactions } from '../../shared/transactions.js';
import { AwardedMiles, AwardsAccount } from './tables.js';

/** Credit the client's miles for a transit, if they collect any. No module sends it: rides sends the mesh's command. */
export class RegisterMiles extends Command<void> {
  constructor(readonly data: { readonly transitId: string; readonly clientId: number }) {
    super();
  }
}

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
