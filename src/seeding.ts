import { Inject, Injectable, type OnApplicationBootstrap, type Type } from '@nestjs/common';
import { demoConfig, type Settings } from './config-namespaces.js';
import { UnitOfWork } from './infrastructure/persistence/unit-of-work.js';

/**
 * A provider that runs `seed` in a unit of work at every start with SEED=demo. `seed` must therefore change nothing when
 * it runs again.
 */
export function seeding(seed: (work: UnitOfWork) => Promise<unknown>): Type {
  @Injectable()
  class Seed implements OnApplicationBootstrap {
    constructor(
      private readonly work: UnitOfWork,
      @Inject(demoConfig.KEY) private readonly settings: Settings<typeof demoConfig>,
    ) {}

    async onApplicationBootstrap(): Promise<void> {
      if (this.settings.isSeeded) await this.work.run(() => seed(this.work));
    }
  }
  return Seed;
}
