import { Inject, Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { CONFIG, type Config } from '../../config.js';
import { DEMO_CLIENT } from '../../demo.js';
import { UnitOfWork } from '../../infrastructure/persistence/unit-of-work.js';
import { Client } from './tables.js';

/** The client of the demo. */
@Injectable()
export class ClientsSeed implements OnApplicationBootstrap {
  constructor(
    private readonly work: UnitOfWork,
    @Inject(CONFIG) private readonly config: Config,
  ) {}

  async onApplicationBootstrap(): Promise<void> {
    if (this.config.seed !== 'demo') return;
    await this.work.run(async () => {
      const clients = this.work.repository(Client);
      const { name, lastName } = DEMO_CLIENT;
      // Without an id: the first of an empty table gets the demo's, and the sequence knows of it.
      if (!(await clients.exists())) await clients.insert({ name, lastName, type: 'NORMAL' });
    });
  }
}
