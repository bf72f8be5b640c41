import { Inject, Injectable, type OnApplicationBootstrap, type Type } from '@nestjs/common';
import { CONFIG, type Config } from './config.js';
import { UnitOfWork } from './infrastructure/persistence/unit-of-work.js';

/** A provider that runs `seed` in a unit of work when the application starts with SEED=demo: every time, so it must be harmless to repeat. */
export function seeding(seed: (work: UnitOfWork) => Promise<unknown>): Type {
  @Injectable()
  class Seed implements OnApplicationBootstrap {
    constructor(
      private readonly work: UnitOfWork,
      @Inject(CONFIG) private readonly config: Config,
    ) {}

    async onApplicationBootstrap(): Promise<void> {
      if (this.config.seed === 'demo') await this.work.run(() => seed(this.work));
    }
  }
  return Seed;
}
