import { Inject, Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { CONFIG, type Config } from '../../config.js';
import { DEMO_DRIVER, DEMO_RIDE } from '../../demo.js';
import { UnitOfWork } from '../../infrastructure/persistence/unit-of-work.js';
import { Driver, Occupancy } from './tables.js';

/** The drivers of the public demo; Bob Falc is on his way with its client. */
const DRIVERS: readonly Driver[] = [
  {
    id: 1985482451,
    firstName: 'Matt',
    lastName: 'Hicks',
    driverLicense: 'AD9SS564564AA1ZZ',
    status: 'ACTIVE',
    fee: null,
  },
  { id: 1985665010, firstName: 'Anice', lastName: 'Beck', driverLicense: '', status: 'INACTIVE', fee: null },
  {
    ...{ id: DEMO_DRIVER, firstName: 'Bob', lastName: 'Falc', driverLicense: 'aassq453654qw1ww', status: 'ACTIVE' },
    fee: { type: 'percentage', amount: 480, min: 1000 },
  },
];

@Injectable()
export class DriversSeed implements OnApplicationBootstrap {
  constructor(
    private readonly work: UnitOfWork,
    @Inject(CONFIG) private readonly config: Config,
  ) {}

  async onApplicationBootstrap(): Promise<void> {
    if (this.config.seed !== 'demo') return;
    const occupied = { driverId: DEMO_DRIVER, transitId: DEMO_RIDE, state: 'OCCUPIED' as const };
    await this.work.run(async () => {
      const { work } = this;
      const drivers = work
        .repository(Driver)
        .createQueryBuilder()
        .insert()
        .values([...DRIVERS]);
      // TypeORM would write the ids that it thinks SQLite gave into the rows.
      await drivers.orIgnore().updateEntity(false).execute();
      await work.repository(Occupancy).createQueryBuilder().insert().values(occupied).orIgnore().execute();
    });
  }
}
