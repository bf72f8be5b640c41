import { CommandBus } from '@nestjs/cqrs';
import { UnitOfWork } from '../../src/infrastructure/persistence/unit-of-work.js';
import { FreeDriver, OccupyDriver } from '../../src/modules/drivers/contract.js';
import { FreeDriverHandler } from '../../src/modules/drivers/free-driver.js';
import { OccupyDriverHandler } from '../../src/modules/drivers/occupy-driver.js';
import { Occupancy } from '../../src/modules/drivers/tables.js';
import { startCabs, type Cabs } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';
import { bodyOf, get, newDriver, post, transitIn, waitUntilIdle, type Driver, type Ride } from '../support/rest.js';

type Sent = ['occupy' | 'free' | 'occupyOther' | 'freeOther', attempt?: number];

describe.each(DATABASES)('Accepting a ride again on $kind', ({ fresh }) => {
  let cabs: Cabs;

  beforeAll(async () => {
    cabs = await startCabs(await fresh());
    await cabs.app.listen(0, '127.0.0.1');
  });
  afterAll(() => cabs.close());

  const isOccupied = async (driverId: number) => (await get<Driver>(cabs, `/drivers/${driverId}`)).occupied;
  const occupy = async (id: string, driverId: number, attempt: number) => {
    const work = cabs.app.get(UnitOfWork);
    await work.run(() => cabs.app.get(CommandBus).execute(new OccupyDriver(id, { driverId, attempt })));
    await waitUntilIdle(cabs);
  };
  const accept = (id: string, driverId: number) =>
    cabs.http.post(`/transits/${id}/accept`).set('Prefer', 'wait=10').send({ driverId });

  it('succeeds when a repeated message of a refused acceptance has occupied and freed the driver', async () => {
    const driverId = await newDriver(cabs);
    const ids = [
      await transitIn(cabs, 'WAITING_FOR_DRIVER_ASSIGNMENT'),
      await transitIn(cabs, 'WAITING_FOR_DRIVER_ASSIGNMENT'),
    ];
    await Promise.all(ids.map(({ id }) => accept(id, driverId)));
    await waitUntilIdle(cabs);
    const rides = await Promise.all(ids.map(({ id }) => get<Ride>(cabs, `/transits/${id}`)));
    const [got, refused] = rides.sort(({ driverId: one }) => (one === driverId ? -1 : 1));
    await post(cabs, `/transits/${got!.id}/cancel`);
    await waitUntilIdle(cabs);
    // The driver accepted twice, and the second message comes late.
    await occupy(refused!.id, driverId, 1);
    expect(await isOccupied(driverId)).toBe(false);

    expect(bodyOf(await accept(refused!.id, driverId), 200)).toMatchObject({
      status: 'TRANSIT_TO_PASSENGER',
      driverId,
    });
    await post(cabs, `/transits/${refused!.id}/cancel`);
    await waitUntilIdle(cabs);
    for (const late of [1, 2, 3]) await occupy(refused!.id, driverId, late);
    expect(await isOccupied(driverId)).toBe(false);
  });

  it.each<[Sent[], 'OCCUPIED' | 'FREED' | undefined]>([
    // Messages of older versions have no attempt.
    [[['occupy'], ['free'], ['occupy']], 'FREED'],
    [[['free'], ['occupy']], 'FREED'],
    [[['free'], ['occupy', 2]], 'FREED'],
    [[['occupy'], ['free', 1], ['occupy']], 'FREED'],
    [[['occupy'], ['free', 1], ['occupy', 2]], 'OCCUPIED'],
    [
      [
        ['occupy', 1],
        ['free', 1],
        ['occupy', 1],
      ],
      'FREED',
    ],
    [
      [
        ['occupy', 1],
        ['free', 1],
        ['occupy', 2],
      ],
      'OCCUPIED',
    ],
    // In another order.
    [
      [
        ['free', 1],
        ['occupy', 1],
      ],
      'FREED',
    ],
    [
      [
        ['free', 1],
        ['occupy', 2],
      ],
      'OCCUPIED',
    ],
    [
      [
        ['occupy', 2],
        ['free', 1],
      ],
      'OCCUPIED',
    ],
    [
      [
        ['occupy', 1],
        ['occupy', 2],
        ['free', 1],
      ],
      'OCCUPIED',
    ],
    [
      [
        ['occupy', 2],
        ['occupy', 1],
        ['free', 1],
      ],
      'OCCUPIED',
    ],
    [
      [
        ['free', 2],
        ['free', 1],
        ['occupy', 2],
      ],
      'FREED',
    ],
    [
      [
        ['free', 1],
        ['free', 2],
        ['occupy', 2],
      ],
      'FREED',
    ],
    // The ride is over.
    [[['occupy', 1], ['free'], ['occupy', 2]], 'FREED'],
    [[['occupy', 2], ['free'], ['free', 1], ['occupy', 3]], 'FREED'],
    [[['free', 1], ['free'], ['occupy', 2]], 'FREED'],
    // Another ride of the driver is open.
    [
      [
        ['occupyOther', 1],
        ['occupy', 1],
      ],
      undefined,
    ],
    [
      [
        ['free', 1],
        ['occupyOther', 1],
        ['occupy', 2],
      ],
      'FREED',
    ],
    [[['free', 1], ['occupyOther', 1], ['occupy', 2], ['freeOther'], ['occupy', 1]], 'FREED'],
    [[['free', 1], ['occupyOther', 1], ['occupy', 2], ['freeOther'], ['occupy', 3]], 'OCCUPIED'],
  ])('%j leads to %s', async (messages, state) => {
    const driverId = await newDriver(cabs);
    const [transitId, other] = [crypto.randomUUID(), crypto.randomUUID()];
    const work = cabs.app.get(UnitOfWork);
    // In one unit, so that no answer is handled in between.
    const found = await work.run(async () => {
      for (const [kind, attempt] of messages) {
        const id = kind.endsWith('Other') ? other : transitId;
        const data = { driverId, ...(attempt && { attempt }) };
        if (kind.startsWith('occupy')) await cabs.app.get(OccupyDriverHandler).execute(new OccupyDriver(id, data));
        else await cabs.app.get(FreeDriverHandler).executeMany([new FreeDriver(id, data)], (_, send) => send());
      }
      return work.repository(Occupancy).findOneBy({ driverId, transitId });
    });
    expect(found?.state).toBe(state);
  });
});
