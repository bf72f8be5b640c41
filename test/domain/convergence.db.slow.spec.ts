import fc from 'fast-check';
import type { CloudEvent } from '../../src/infrastructure/cloudevents/cloud-event.js';
import { InboxReceiver } from '../../src/infrastructure/delivery/inbox-receiver.js';
import { Relay } from '../../src/infrastructure/outbox/relay.js';
import { UnitOfWork } from '../../src/infrastructure/persistence/unit-of-work.js';
import { startCabs, type Cabs } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';

const PICKUP = { country: 'Polska', city: 'Warszawa', street: 'Młynarska', buildingNumber: 20 };
const PLANNED = { ...PICKUP, street: 'Żytnia', buildingNumber: 25 };
const REACHED = { ...PICKUP, street: 'Żytnia', buildingNumber: 32 };

/** An event for one consumer. */
interface Delivery {
  readonly consumer: string;
  readonly event: CloudEvent;
}

/*
 * The relay is stopped. A tape of random numbers decides instead which message arrives next, which message is repeated
 * (with its own id, or with another one as if the inbox had expired), and when the users act. A message that the tape
 * picks late stands for one that was lost and sent again.
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

  /** Takes the deliveries, as the relay would. */
  async function collect(): Promise<Delivery[]> {
    const select = 'SELECT consumer, event FROM mesh_delivery ORDER BY seq';
    const rows = await work().sql.all<{ consumer: string; event: string }>(select);
    await work().run(() => work().sql.run('DELETE FROM mesh_delivery'));
    return rows.map(({ consumer, event }) => ({ consumer, event: JSON.parse(event) as CloudEvent }));
  }

  async function requestTransit(): Promise<string> {
    const reply = await cabs.http.post('/transits').send({ clientId: client, from: PICKUP, to: PLANNED }).expect(201);
    await cabs.http.post(`/transits/${reply.body.id}/publish`).expect(200);
    return reply.body.id;
  }

  /** The next action of the user. A refused action is tried again later. */
  async function act(transit: string, driver: number, cancels: boolean): Promise<void> {
    const { status } = (await cabs.http.get(`/transits/${transit}`)).body;
    const on = (action: string, body: object = {}) => cabs.http.post(`/transits/${transit}/${action}`).send(body);
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
    const transits = [await requestTransit(), await requestTransit(), await requestTransit()];
    const cancelled = transits[2];
    const receiver = cabs.app.get(InboxReceiver);
    const deliver = ({ consumer, event }: Delivery) => receiver.receive(consumer, event);
    const pending = await collect();
    const seen: Delivery[] = [];
    const isOver = async () => {
      const statuses = await Promise.all(
        transits.map(async (id) => (await cabs.http.get(`/transits/${id}`)).body.status),
      );
      return statuses.every((status) => status === 'COMPLETED' || status === 'CANCELLED');
    };
    for (let step = 0; pending.length > 0 || !(await isOver()); step++) {
      if (step > 2000) throw new Error('The rides never end');
      // After the end of the tape all messages are delivered in order.
      const pick = tape[step] ?? 0;
      const action = step < tape.length ? pick % 4 : step % 2;
      if (action === 0 && pending.length > 0) {
        const [delivery] = pending.splice((pick >> 2) % pending.length, 1);
        await deliver(delivery!);
        seen.push(delivery!);
      } else if (action === 1) {
        const transit = transits[step < tape.length ? (pick >> 2) % 3 : step % 3]!;
        await act(transit, driver, transit === cancelled);
      } else if (action === 2 && seen.length > 0) {
        expect(await deliver(seen[(pick >> 2) % seen.length]!)).toBe('duplicate');
      } else if (action === 3 && seen.length > 0) {
        const { consumer, event } = seen[(pick >> 2) % seen.length]!;
        // A refusal leaves no state by which a handler could recognise it: only the inbox knows it.
        const isRecognised = !['cabs.drivers.driver-occupy', 'cabs.drivers.driver-refused'].includes(event.type);
        if (isRecognised) await deliver({ consumer, event: { ...event, id: crypto.randomUUID() } });
      }
      pending.push(...(await collect()));
    }
    return outcome(transits, driver);
  }

  async function outcome(transits: string[], driver: number): Promise<object> {
    const sql = work().sql;
    const views = await Promise.all(transits.map(async (id) => (await cabs.http.get(`/transits/${id}`)).body));
    const count = async (statement: string, ...parameters: (string | number)[]) =>
      Number((await sql.all<{ n: string }>(statement, parameters))[0]!.n);
    const perTransit = (table: string) =>
      Promise.all(transits.map((id) => count(`SELECT COUNT(*) AS n FROM ${table} WHERE transit_id = $1`, id)));
    return {
      transits: views.map(({ status, driverFee, price, settlement, to }) => ({
        status,
        settlement,
        to: to.buildingNumber,
        feeIsRight: status === 'COMPLETED' ? driverFee === price - Math.floor((200 * price) / 10_000) : undefined,
      })),
      invoices: await perTransit('invoicing_invoice'),
      miles: await perTransit('loyalty_miles'),
      fees: await perTransit('drivers_fee'),
      occupied: await count(
        `SELECT COUNT(*) AS n FROM drivers_occupancy WHERE driver_id = $1 AND state = 'OCCUPIED'`,
        driver,
      ),
      driverIsFree: !(await cabs.http.get(`/drivers/${driver}`)).body.occupied,
    };
  }

  it('three rides of one driver end the same in every order of their messages', async () => {
    const settlement = { driverFee: 'settled', driverFreed: 'settled', miles: 'settled', invoice: 'settled' };
    const expected = {
      transits: [
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
  }, 300_000);
});
