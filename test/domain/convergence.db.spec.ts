import fc from 'fast-check';
import type { CloudEvent } from '../../src/infrastructure/cloudevents/cloud-event.js';
import { InboxReceiver } from '../../src/infrastructure/delivery/inbox-receiver.js';
import { HandlerRegistry } from '../../src/infrastructure/contracts/handler-registry.js';
import { Relay } from '../../src/infrastructure/outbox/relay.js';
import { UnitOfWork } from '../../src/infrastructure/persistence/unit-of-work.js';
import { startCabs, type Cabs } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';

const PICKUP = { country: 'Polska', city: 'Warszawa', street: 'Młynarska', buildingNumber: 20 };
const PLANNED = { ...PICKUP, street: 'Żytnia', buildingNumber: 25 };
const REACHED = { ...PICKUP, street: 'Żytnia', buildingNumber: 32 };

/** On the way to one consumer. */
interface Parcel {
  readonly consumer: string;
  readonly event: CloudEvent;
}

/*
 * The relay stands still, and a tape of random numbers takes its place: it picks which message arrives next, which one
 * comes a second time, with its own id or, as after the inbox has forgotten it, with another, and when the users do
 * what they do. Messages that it picks late are those that were lost and sent again.
 */
describe.each(DATABASES)('Convergence on $kind', ({ kind, fresh }) => {
  let cabs: Cabs;
  let client: number;

  beforeAll(async () => {
    cabs = await startCabs(await fresh());
    await cabs.app.get(Relay).stop(0);
    client = (await cabs.http.post('/clients').send({ name: 'John', lastName: 'Doe' })).body.id;
    await cabs.http.post(`/clients/${client}/awards`).expect(201);
    await cabs.http.post(`/clients/${client}/awards/activate`).expect(200);
  });
  afterAll(() => cabs.close());

  const work = () => cabs.app.get(UnitOfWork);

  /** Takes what has been sent since, as the relay would. */
  async function collect(): Promise<Parcel[]> {
    const rows = await work().sql.all<{ event: string }>('SELECT event FROM mesh_outbox ORDER BY seq');
    await work().run(() => work().sql.run('DELETE FROM mesh_outbox'));
    const registry = cabs.app.get(HandlerRegistry);
    return rows
      .map(({ event }) => JSON.parse(event) as CloudEvent)
      .flatMap((event) => registry.subscriptions(event.type).map(({ consumer }) => ({ consumer, event })));
  }

  async function requestRide(): Promise<string> {
    const reply = await cabs.http.post('/transits').send({ clientId: client, from: PICKUP, to: PLANNED }).expect(201);
    await cabs.http.post(`/transits/${reply.body.id}/publish`).expect(200);
    return reply.body.id;
  }

  /** What the user of a ride does next; refusals are left to the next time. */
  async function act(ride: string, driver: number, cancels: boolean): Promise<void> {
    const { status } = (await cabs.http.get(`/transits/${ride}`)).body;
    const on = (action: string, body: object = {}) => cabs.http.post(`/transits/${ride}/${action}`).send(body);
    if (status === 'WAITING_FOR_DRIVER_ASSIGNMENT') await on('accept', { driverId: driver });
    if (status === 'ACCEPTING' && cancels) await on('cancel');
    if (status === 'TRANSIT_TO_PASSENGER') await on(cancels ? 'cancel' : 'start');
    if (status === 'IN_TRANSIT') await on('complete', REACHED);
    if (status === 'COMPLETING') await on('complete', REACHED);
  }

  async function play(tape: number[]): Promise<object> {
    const registered = await cabs.http
      .post('/drivers')
      .send({ firstName: 'Bob', lastName: 'Falc', driverLicense: 'AD9SS564564AA1ZZ' });
    const driver = registered.body.id as number;
    await cabs.http.post(`/drivers/${driver}/activate`).expect(200);
    const rides = [await requestRide(), await requestRide(), await requestRide()];
    const cancelled = rides[2];
    const receiver = cabs.app.get(InboxReceiver);
    const deliver = ({ consumer, event }: Parcel) => receiver.receive(consumer, event);
    const pending = await collect();
    const seen: Parcel[] = [];
    const isOver = async () => {
      const statuses = await Promise.all(rides.map(async (id) => (await cabs.http.get(`/transits/${id}`)).body.status));
      return statuses.every((status) => status === 'COMPLETED' || status === 'CANCELLED');
    };
    for (let step = 0; pending.length > 0 || !(await isOver()); step++) {
      if (step > 2000) throw new Error('The rides never end');
      // Behind the end of the tape everything is delivered in its order.
      const pick = tape[step] ?? 0;
      const kind = step < tape.length ? pick % 4 : step % 2;
      if (kind === 0 && pending.length > 0) {
        const [parcel] = pending.splice((pick >> 2) % pending.length, 1);
        await deliver(parcel!);
        seen.push(parcel!);
      } else if (kind === 1) {
        const ride = rides[step < tape.length ? (pick >> 2) % 3 : step % 3]!;
        await act(ride, driver, ride === cancelled);
      } else if (kind === 2 && seen.length > 0) {
        expect(await deliver(seen[(pick >> 2) % seen.length]!)).toBe('duplicate');
      } else if (kind === 3 && seen.length > 0) {
        const { consumer, event } = seen[(pick >> 2) % seen.length]!;
        // A refusal has no effect that could be recognised: only the inbox knows of it.
        const isRecognised = !['cabs.drivers.driver-occupy', 'cabs.drivers.driver-refused'].includes(event.type);
        if (isRecognised) await deliver({ consumer, event: { ...event, id: crypto.randomUUID() } });
      }
      pending.push(...(await collect()));
    }
    return outcome(rides, driver);
  }

  async function outcome(rides: string[], driver: number): Promise<object> {
    const sql = work().sql;
    const views = await Promise.all(rides.map(async (id) => (await cabs.http.get(`/transits/${id}`)).body));
    const count = async (statement: string, ...parameters: (string | number)[]) =>
      Number((await sql.all<{ n: string }>(statement, parameters))[0]!.n);
    const perRide = (table: string) =>
      Promise.all(rides.map((id) => count(`SELECT COUNT(*) AS n FROM ${table} WHERE transit_id = $1`, id)));
    return {
      rides: views.map(({ status, driverFee, price, settlement, to }) => ({
        status,
        settlement,
        to: to.buildingNumber,
        feeIsRight: status === 'COMPLETED' ? driverFee === price - Math.floor((200 * price) / 10_000) : undefined,
      })),
      invoices: await perRide('invoicing_invoice'),
      miles: await perRide('loyalty_miles'),
      fees: await perRide('drivers_fee'),
      occupied: await count(
        `SELECT COUNT(*) AS n FROM drivers_occupancy WHERE driver_id = $1 AND state = 'OCCUPIED'`,
        driver,
      ),
      driverIsFree: !(await cabs.http.get(`/drivers/${driver}`)).body.occupied,
    };
  }

  it('several rides of one driver end the same, however their messages come', async () => {
    const settlement = { driverFee: 'settled', driverFreed: 'settled', miles: 'settled', invoice: 'settled' };
    const expected = {
      rides: [
        { status: 'COMPLETED', settlement, to: 32, feeIsRight: true },
        { status: 'COMPLETED', settlement, to: 32, feeIsRight: true },
        { status: 'CANCELLED', settlement: undefined, to: 25, feeIsRight: undefined },
      ],
      invoices: [1, 1, 0],
      miles: [1, 1, 0],
      fees: [1, 1, 0],
      occupied: 0,
      driverIsFree: true,
    };
    await fc.assert(
      fc.asyncProperty(fc.array(fc.nat(10_000), { minLength: 20, maxLength: 250 }), async (tape) => {
        expect(await play(tape)).toEqual(expected);
      }),
      { numRuns: kind === 'sqlite' ? 25 : 8, endOnFailure: true },
    );
  }, 120_000);
});
