import { Inject, Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { CONFIG, type Config } from '../../config.js';
import { PICKUP, PLANNED } from '../../demo.js';
import { UnitOfWork } from '../../infrastructure/persistence/unit-of-work.js';
import { addressId } from './contract.js';
import { addressHash } from './distance.js';
import { KeptAddress } from './tables.js';

/** The addresses that the demo's ride was ordered with. */
@Injectable()
export class GeolocationSeed implements OnApplicationBootstrap {
  constructor(
    private readonly work: UnitOfWork,
    @Inject(CONFIG) private readonly config: Config,
  ) {}

  async onApplicationBootstrap(): Promise<void> {
    if (this.config.seed !== 'demo') return;
    const rows = [PICKUP, PLANNED].map((address) => ({
      ...{ id: addressId(address), hash: addressHash(address), address },
      ...{ latitude: null, longitude: null },
    }));
    await this.work.run(() =>
      this.work.repository(KeptAddress).createQueryBuilder().insert().values(rows).orIgnore().execute(),
    );
  }
}
