import { Command, CommandHandler, QueryBus, type ICommandHandler } from '@nestjs/cqrs';
import type { z } from 'zod';
import { Clock } from '../../infrastructure/observability/clock.js';
import { NotFound } from '../../infrastructure/contracts/domain-errors.js';
import { UnitOfWork } from '../../infrastructure/persistence/unit-of-work.js';
import { MAX_ID } from '../../infrastructure/contracts/schemas.js';
import { ReadClient } from '../clients/contract.js';
import type { awards } from './contract.js';
import { awardsView } from './read-awards.js';
import { AwardsAccount } from './tables.js';

/** Opens a client's awards account, which is inactive at first. An existing account stays as it is. */
export class OpenAccount extends Command<z.infer<typeof awards>> {
  constructor(readonly clientId: number) {
    super();
  }
}

@CommandHandler(OpenAccount)
export class OpenAccountHandler implements ICommandHandler<OpenAccount> {
  constructor(
    private readonly work: UnitOfWork,
    private readonly queries: QueryBus,
    private readonly clock: Clock,
  ) {}

  async execute({ clientId }: OpenAccount) {
    const client = await this.queries.execute(new ReadClient({ clientId }));
    if (!client) throw new NotFound(`There is no client ${clientId}`, 'id');
    return this.work.run(async () => {
      const accounts = this.work.repository(AwardsAccount);
      const now = this.clock.now();
      const row = { clientId, active: false, transactions: 0, openedAt: now.toISOString() };
      await accounts.createQueryBuilder().insert().values(row).orIgnore().execute();
      return awardsView(this.work, await accounts.findOneByOrFail({ clientId }), now);
    });
  }
}

/** Activates an account, or deactivates it. */
export class SetAccountActive extends Command<z.infer<typeof awards>> {
  constructor(
    readonly clientId: number,
    readonly active: boolean,
  ) {
    super();
  }
}

@CommandHandler(SetAccountActive)
export class SetAccountActiveHandler implements ICommandHandler<SetAccountActive> {
  constructor(
    private readonly work: UnitOfWork,
    private readonly clock: Clock,
  ) {}

  async execute({ clientId, active }: SetAccountActive) {
    return this.work.run(async () => {
      const accounts = this.work.repository(AwardsAccount);
      const { affected } = clientId > MAX_ID ? {} : await accounts.update({ clientId }, { active });
      if (!affected) throw new NotFound(`Client ${clientId} has no awards account: open one first`, 'id');
      return awardsView(this.work, await accounts.findOneByOrFail({ clientId }), this.clock.now());
    });
  }
}
