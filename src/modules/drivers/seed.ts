import { DEMO_DRIVER, DEMO_RIDE } from '../../demo.js';
import { seeding } from '../../seeding.js';
import { Driver, Occupancy } from './tables.js';

/** The drivers of the public demo. Bob Falc is driving its client. */
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
    id: DEMO_DRIVER,
    firstName: 'Bob',
    lastName: 'Falc',
    driverLicense: 'aassq453654qw1ww',
    status: 'ACTIVE',
    fee: { type: 'percentage', amount: 480, min: 1000 },
  },
];

export const DriversSeed = seeding(async (work) => {
  const occupied = { driverId: DEMO_DRIVER, transitId: DEMO_RIDE, state: 'OCCUPIED' as const };
  // With column names: without them, TypeORM leaves out ids that PostgreSQL can generate.
  const columns = ['id', 'firstName', 'lastName', 'driverLicense', 'status', 'fee'];
  const drivers = work.repository(Driver).createQueryBuilder().insert().into(Driver, columns);
  await drivers
    .values([...DRIVERS])
    .orIgnore()
    .updateEntity(false)
    .execute();
  await work.repository(Occupancy).createQueryBuilder().insert().values(occupied).orIgnore().execute();
});
