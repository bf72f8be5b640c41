import { REQUIRED_TYPES } from '../../faults/count.js';
import { PLANNED, REACHED } from '../../src/demo.js';
import { startCabs, type Cabs } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';
import { JOURNEYS, outcomeOf, playAll, prepareScenario, type Scenario } from '../support/journeys.js';
import { installLosses } from '../support/message-loss.js';
import { get, post, problemOf, waitUntilIdle, type Driver, type Ride } from '../support/rest.js';
import { selected } from '../support/thorough.js';

/** The loop never runs: the user repeats the request instead. */
const NO_LOOP = { MESH_RECONCILE_EVERY: 'PT0S' };

describe.each(selected(DATABASES, ({ kind }) => kind === 'sqlite'))(
  'A user who repeats a request on $kind',
  ({ fresh }) => {
    let cabs: Cabs;

    beforeAll(async () => {
      const database = await fresh();
      cabs = await startCabs(database, NO_LOOP);
      await installLosses(database);
    });
    afterAll(() => cabs.close());

    /** Plays a journey as far as it gets without the first message of a type. */
    async function playWithout(type: string, journey: string): Promise<Scenario> {
      const found = JOURNEYS.find(({ name }) => name === journey)!;
      const scenario = await prepareScenario(cabs, found, [{ type, n: 1 }]);
      await playAll([scenario]);
      return scenario;
    }
    const statusOf = async ({ transit }: Scenario) => (await get<Ride>(cabs, `/transits/${transit}`)).status;
    const isOccupied = async ({ drivers }: Scenario) => (await get<Driver>(cabs, `/drivers/${drivers[0]}`)).occupied;

    it.each(['cabs.drivers.driver-occupy', 'cabs.drivers.driver-occupied'])(
      'gets the driver by accepting again when %s was lost',
      async (type) => {
        const scenario = await playWithout(type, 'a ride that gets another destination on the way, and ends elsewhere');
        expect(await statusOf(scenario)).toBe('ACCEPTING');
        const body = { driverId: scenario.drivers[0] };
        await post(cabs, `/transits/${scenario.transit}/accept`, body, 202);
        await waitUntilIdle(cabs);
        expect(await statusOf(scenario)).toBe('TRANSIT_TO_PASSENGER');
        expect(await post(cabs, `/transits/${scenario.transit}/accept`, body, 202)).toMatchObject({
          status: 'TRANSIT_TO_PASSENGER',
        });
      },
    );

    it('frees the ride for another driver by accepting again when cabs.drivers.driver-refused was lost', async () => {
      const scenario = await playWithout('cabs.drivers.driver-refused', 'a ride whose first driver is refused');
      expect(await statusOf(scenario)).toBe('ACCEPTING');
      await post(cabs, `/transits/${scenario.transit}/accept`, { driverId: scenario.drivers[0] }, 202);
      await waitUntilIdle(cabs);
      expect(await statusOf(scenario)).toBe('WAITING_FOR_DRIVER_ASSIGNMENT');
    });

    it.each(['cabs.drivers.driver-free', 'cabs.drivers.driver-freed'])(
      'frees the driver by cancelling again when %s was lost, and can’t cancel once more',
      async (type) => {
        const scenario = await playWithout(type, 'a ride that is cancelled when its driver is on the way');
        expect(await isOccupied(scenario)).toBe(type === 'cabs.drivers.driver-free');
        expect(await post(cabs, `/transits/${scenario.transit}/cancel`)).toMatchObject({ status: 'CANCELLED' });
        await waitUntilIdle(cabs);
        expect(await isOccupied(scenario)).toBe(false);
        problemOf(await cabs.http.post(`/transits/${scenario.transit}/cancel`), 409);
      },
    );

    it.each(REQUIRED_TYPES)('settles the ride by completing again when %s was lost', async (type) => {
      const scenario = await playWithout(type, 'a ride that gets another destination on the way, and ends elsewhere');
      const path = `/transits/${scenario.transit}/complete`;
      expect(await outcomeOf(scenario)).not.toEqual(scenario.journey.outcome);
      problemOf(await cabs.http.post(path).send(PLANNED), 409);
      await post(cabs, path, REACHED, 202);
      await waitUntilIdle(cabs);
      expect(await outcomeOf(scenario)).toEqual(scenario.journey.outcome);
    });
  },
);
