import { DATABASES } from '../support/databases.js';
import { eventually, startCabs, type Cabs } from '../support/cabs.js';

const DEMO_RIDE = '0b9e5a4c-8d8f-4c1e-9a57-3d2f6c1b7e42';
const ZYTNIA_32 = { country: 'Polska', city: 'Warszawa', street: 'Żytnia', buildingNumber: 32, hash: -580606919 };

describe.each(DATABASES)('The demo on $kind', ({ fresh }) => {
  let cabs: Cabs;

  beforeAll(async () => {
    cabs = await startCabs(await fresh(), { SEED: 'demo' });
  });
  afterAll(() => cabs.close());

  it('completes its ride for 5100, of which the driver gets 4856', async () => {
    const reply = await cabs.http.post(`/transits/${DEMO_RIDE}/complete`).send(ZYTNIA_32).expect(202);
    expect(reply.headers.location).toBe(`/transits/${DEMO_RIDE}`);
    const ride = await eventually(
      async () => (await cabs.http.get(`/transits/${DEMO_RIDE}`)).body as Record<string, unknown>,
      ({ settlementSince }) => settlementSince === undefined,
    );
    expect(ride).toMatchObject({ status: 'COMPLETED', price: 5100, driverFee: 4856, distanceKm: 42 });
    expect(ride.settlement).toEqual({
      driverFee: 'settled',
      driverFreed: 'settled',
      miles: 'settled',
      invoice: 'settled',
    });
  });
});
