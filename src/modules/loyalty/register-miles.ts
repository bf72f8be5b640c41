import { CommandHandler, EventBus } from '@nestjs/cqrs';
import { Clock } from '../../infrastructure/observability/clock.js';
import type { DurableCommandHandler } from '../../infrastructure/contracts/message.js';
import { UnitOfWork } from '../../infrastructure/persistence/unit-of-work.js';
import { MAX_ID } from '../../infrastructure/contracts/schemas.js';
import { MilesRegistered, RegisterMiles } from './contract.js';
import { milesForTransit } from './miles.js';
import { AwardedMiles, AwardsAccount } from './tables.js';

@CommandHandler(RegisterMiles)
export class RegisterMilesHandler implements DurableCommandHandler<RegisterMiles> {
  constructor(
    private readonly work: UnitOfWork,
    private readonly events: EventBus,
    private readonly clock: Clock,
  ) {}

  async execute({ subject: transitId, data: { clientId } }: RegisterMiles): Promise<void> {
    const miles = await this.credit(transitId, clientId);
    this.events.publish(new MilesRegistered(transitId, { clientId, miles }));
  }

  private async credit(transitId: string, clientId: number): Promise<number> {
    if (clientId > MAX_ID) return 0;
    const all = this.work.repository(AwardedMiles);
    const known = await all.findOneBy({ transitId });
    if (known) return known.miles;
    const accounts = this.work.repository(AwardsAccount);
    // The update locks the account, so that a deactivation happens either before or after.
    const { affected } = await accounts.increment({ clientId, active: true }, 'transactions', 1);
    if (!affected) return 0;
    const { miles, grantedAt, expiresAt } = milesForTransit(this.clock.now().getTime());
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
