import { eventually } from '../support/cabs.js';
import { write } from '../support/database-contents.js';
import { DATABASES } from '../support/databases.js';
import { Deployment, effectsIn } from '../support/processes.js';
import { call, prepareRides, REACHED, runConcurrently } from '../support/server.js';
import { selected } from '../support/thorough.js';
import { ROUTES } from '../support/transports.js';

const RIDES = 100;
/** The last retry of a message is 31.5 s after the first attempt, long after everything else has to be settled. */
const DELIVERY = { retry: 6, backoffDelay: 'PT0.5S' };
/** Longest wait of a ride for everything but its miles, in ms; 5 s on a machine that does nothing else. */
const MAX_WAIT_MS = 25_000;

interface Ride {
  readonly status: string;
  readonly driverId: number;
  readonly settlement?: Record<string, string>;
}

const OVER_A_BROKER = ROUTES.filter(({ channel }) => channel);

describe.each(selected(OVER_A_BROKER, ({ route }) => route === 'over a synchronous channel'))(
  'While a module fails, $route',
  (route) => {
    let cabs: Deployment;
    const read = async (id: string) => (await call<Ride>('GET', `${cabs.url}/transits/${id}`)).body;
    /** The database of loyalty. */
    const database = () => (cabs.services.get('loyalty') ?? cabs.services.get('cabs'))!.database;

    beforeAll(async () => {
      cabs = await new Deployment(route, DATABASES[0]!.fresh, { LOG_LEVEL: 'error' }, DELIVERY).start();
    }, 60_000);
    afterAll(() => cabs?.stop());

    it('rides end and begin, its messages become dead letters, and settle once after its repair and a replay', async () => {
      const rides = await prepareRides(cabs.url, RIDES);
      const [next] = await prepareRides(cabs.url, 1);
      await cabs.idle();
      await write(database(), 'ALTER TABLE loyalty_account RENAME TO loyalty_mislaid');

      const waits = await runConcurrently(8, RIDES, async (n) => {
        await call('POST', `${cabs.url}/transits/${rides[n]}/complete`, REACHED);
        const began = performance.now();
        const { driverId } = await eventually(
          () => read(rides[n]!),
          ({ settlement }) => settlement?.invoice === 'settled' && settlement.driverFreed === 'settled',
          MAX_WAIT_MS,
        );
        expect((await call('GET', `${cabs.url}/drivers/${driverId}`)).body).toMatchObject({ occupied: false });
        return performance.now() - began;
      });
      console.log(`${route.route}: the slowest of ${RIDES} rides took ${Math.round(Math.max(...waits))} ms`);
      for (const id of rides)
        expect((await read(id)).settlement).toMatchObject({ miles: 'pending', driverFee: 'settled' });
      expect(await effectsIn(cabs.moduleDatabases)).toMatchObject({ invoices: RIDES, fees: RIDES });
      // Another ride is accepted, within the 5 s that its user waits.
      expect((await accepted()).status).toBe(200);

      await eventually(
        () => cabs.statistics(),
        ({ deadLetters }) => deadLetters === RIDES,
        120_000,
      );
      await write(database(), 'ALTER TABLE loyalty_mislaid RENAME TO loyalty_account');
      const deadLetters = cabs.services.get('dead-letters')!.url;
      await call('POST', `${deadLetters}/mesh/dead-letters/replay`);
      await call('POST', `${cabs.url}/transits/${next}/complete`, REACHED);
      for (const id of [...rides, next!]) {
        await eventually(
          () => read(id),
          ({ settlement }) => Object.values(settlement ?? {}).every((it) => it === 'settled'),
        );
      }
      expect(await cabs.idle()).toMatchObject({ deadLetters: 0 });
      const all = RIDES + 1;
      expect(await effectsIn(cabs.moduleDatabases)).toMatchObject({
        invoices: all,
        fees: all,
        miles: all,
        transactions: all,
      });
    }, 300_000);

    /** Lets a new driver accept a new ride. */
    async function accepted() {
      const post = async <Reply>(path: string, body?: object, headers?: Record<string, string>) =>
        call<Reply>('POST', `${cabs.url}${path}`, body, headers);
      const { body: client } = await post<{ id: number }>('/clients', { name: 'Jane', lastName: 'Roe' });
      const driver = { firstName: 'Ada', lastName: 'Byron', driverLicense: 'AD9SS564564AA1ZZ' };
      const { id: driverId } = (await post<{ id: number }>('/drivers', driver)).body;
      await post(`/drivers/${driverId}/activate`);
      const order = { clientId: client.id, from: { ...REACHED, buildingNumber: 20 }, to: REACHED };
      const { id } = (await post<{ id: string }>('/transits', order)).body;
      await post(`/transits/${id}/publish`);
      return post(`/transits/${id}/accept`, { driverId }, { prefer: 'wait=5' });
    }
  },
);
