import { Inject, Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { CONFIG, type Config } from '../../config.js';
import { DEMO_CLIENT } from '../../demo.js';
import { UnitOfWork } from '../../infrastructure/persistence/unit-of-work.js';
import { AwardsAccount } from './tables.js';

/** The demo's client collects miles. */
@Injectable()
export class LoyaltySeed implements OnApplicationBootstrap {
  constructor(
    private readonly work: UnitOfWork,
    @Inject(CONFIG) private readonly config: Config,
  ) {}

  async onApplicationBootstrap(): Promise<void> {
    if (this.config.seed !== 'demo') return;
    const row = { clientId: DEMO_CLIENT.id, active: true, transactions: 0, openedAt: '2025-02-04T08:00:00.000Z' };
    await this.work.run(() =>
      this.work.repository(AwardsAccount).createQueryBuilder().insert().values(row).orIgnore().execute(),
    );
  }
}
