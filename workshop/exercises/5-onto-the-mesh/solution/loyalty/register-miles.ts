import { CommandHandler, EventBus } from '@nestjs/cqrs';
import type { DurableCommandHandler } from '../../../src/infrastructure/contracts/message.js';
import { UnitOfWork } from '../../../src/infrastructure/persistence/unit-of-work.js';
import { MilesRegistered, RegisterMiles } from '../../../src/modules/loyalty/contract.js';
import { milesForTransit } from '../../../src/modules/loyalty/miles.js';
import { AwardedMiles, AwardsAccount } from './tables.js';

/** Runs in a unit of work, together with the inbox record of its message and the event that answers it. */
@CommandHandler(RegisterMiles)
export class RegisterMilesHandler implements DurableCommandHandler<RegisterMiles> {
  constructor(
    private readonly work: UnitOfWork,
    private readonly events: EventBus,
  ) {}

  async execute({ subject: transitId, data: { clientId } }: RegisterMiles): Promise<void> {
    this.events.publish(new MilesRegistered(transitId, { clientId, miles: await this.credit(transitId, clientId) }));
  }

  /**
   * A client without an active account gets no miles, which is not an error. A command that is sent again, with a new id,
   * finds the miles that were credited before.
   */
  private async credit(transitId: string, clientId: number): Promise<number> {
    const all = this.work.repository(AwardedMiles);
    const known = await all.findOneBy({ transitId });
    if (known) return known.miles;
    const accounts = this.work.repository(AwardsAccount);
    const { affected } = await accounts.increment({ clientId, active: true }, 'transactions', 1);
    if (!affected) return 0;
    const { miles, grantedAt, expiresAt } = milesForTransit(Date.now());
    await all.insert({
      transitId,
      clientId,
      miles,
      grantedAt: new Date(grantedAt).toISOString(),
      expiresAt: expiresAt === null ? null : new Date(expiresAt).toISOString(),
    });
    return miles;
  }
}
