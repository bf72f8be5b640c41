import { PICKUP, PLANNED, REACHED } from '../../src/demo.js';
import { Relay } from '../../src/infrastructure/outbox/relay.js';
import { transit } from '../../src/modules/rides/contract.js';
import { eventually, startCabs, type Cabs } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';
import {
  waitUntilIdle,
  bodyOf,
  get,
  newClient,
  newDriver,
  newRide,
  post,
  problemOf,
  take,
  TestClock,
} from '../support/rest.js';
import { WEDNESDAY_NOON, type Client, type Driver, type Ride } from '../support/rest.js';

const DRIVER = { firstName: 'Ada', lastName: 'Byron', driverLicense: 'FARME100165AB5EW' };

describe.each(DATABASES)('The REST interface on $kind', ({ fresh }) => {
  const clock = new TestClock();
  let cabs: Cabs;

  beforeAll(async () => {
    cabs = await startCabs(await fresh(), {}, clock.override);
    await cabs.app.listen(0, '127.0.0.1');
  });
  beforeEach(() => clock.set(WEDNESDAY_NOON));
  afterAll(() => cabs.close());

  describe('Clients', () => {
    it('a registered client is found at the Location of the reply', async () => {
      const reply = await cabs.http.post('/clients').send({ name: ' John ', lastName: 'Doe', type: 'vip' });
      const { id, ...client } = bodyOf<Client>(reply, 201);
      expect(client).toEqual({ name: 'John', lastName: 'Doe', type: 'VIP' });
      expect(reply.headers.location).toBe(`/clients/${id}`);
      expect(await get(cabs, reply.headers.location!)).toEqual(reply.body);
    });

    it('a client is NORMAL by default', async () => {
      expect(await post<Client>(cabs, '/clients', { name: 'A', lastName: 'B' }, 201)).toMatchObject({ type: 'NORMAL' });
    });

    it('an awards account is opened once, is inactive at first, and is activated and deactivated', async () => {
      const awards = `/clients/${await newClient(cabs)}/awards`;
      problemOf(await cabs.http.get(awards), 404, 'id');
      problemOf(await cabs.http.post(`${awards}/activate`), 404, 'id');
      problemOf(await cabs.http.post(`${awards}/deactivate`), 404, 'id');
      expect(await post(cabs, awards, {}, 201)).toMatchObject({ active: false, balance: 0, transactions: 0 });
      expect(await post(cabs, `${awards}/activate`)).toMatchObject({ active: true });
      expect(await post(cabs, awards, {}, 201)).toMatchObject({ active: true });
      expect(await get(cabs, awards)).toMatchObject({ active: true, balance: 0 });
      expect(await post(cabs, `${awards}/deactivate`)).toMatchObject({ active: false });
      expect(await get(cabs, awards)).toMatchObject({ active: false });
    });
  });

  describe('Drivers', () => {
    it('a registered driver is inactive, and is found at the Location of the reply', async () => {
      const reply = await cabs.http.post('/drivers').send(DRIVER);
      const { id, ...driver } = bodyOf<Driver>(reply, 201);
      expect(driver).toEqual({ ...DRIVER, status: 'INACTIVE', fee: null, occupied: false });
      expect(reply.headers.location).toBe(`/drivers/${id}`);
      expect(await get(cabs, reply.headers.location!)).toEqual(reply.body);
    });

    it.each(['', 'invalid', 'FARME100165AB5E', 'FARME100165AB5EWX', '1ARME100165AB5EW'])(
      'a driver with the licence "%s" is registered and not activated',
      async (driverLicense) => {
        const { id } = await post<Driver>(cabs, '/drivers', { ...DRIVER, driverLicense }, 201);
        problemOf(await cabs.http.post(`/drivers/${id}/activate`), 422, 'driverLicense');
        expect(await get(cabs, `/drivers/${id}`)).toMatchObject({ status: 'INACTIVE' });
      },
    );

    it.each(['FARME100165AB5EW', 'farme100165ab5ew', 'AD9SS564564AA1ZZ'])(
      'a driver with the licence %s is activated and deactivated',
      async (driverLicense) => {
        const { id } = await post<Driver>(cabs, '/drivers', { ...DRIVER, driverLicense }, 201);
        expect(await post(cabs, `/drivers/${id}/activate`)).toMatchObject({ id, status: 'ACTIVE' });
        expect(await post(cabs, `/drivers/${id}/activate`)).toMatchObject({ id, status: 'ACTIVE' });
        expect(await post(cabs, `/drivers/${id}/deactivate`)).toMatchObject({ id, status: 'INACTIVE' });
        expect(await get(cabs, `/drivers/${id}`)).toMatchObject({ status: 'INACTIVE' });
      },
    );

    it.each([
      { type: 'flat', amount: 700, min: 300 },
      { type: 'flat', amount: 700, min: null },
      { type: 'percentage', amount: 10_000 },
      { type: 'percentage', amount: 0, min: 2000 },
    ])('a fee of %j is accepted', async (fee) => {
      const id = await newDriver(cabs);
      const reply = await cabs.http.put(`/drivers/${id}/fee`).send(fee);
      expect(bodyOf(reply, 200)).toMatchObject({ id, fee });
      expect(await get(cabs, `/drivers/${id}`)).toEqual(reply.body);
    });

    it.each([
      [{ type: 'flat', amount: 0 }, 422, 'amount'],
      [{ type: 'flat', amount: 700, min: 701 }, 422, 'min'],
      [{ type: 'percentage', amount: 10_001 }, 422, 'amount'],
      [{ type: 'share', amount: 1 }, 400, 'type'],
      [{ type: 'flat', amount: 0.5 }, 400, 'amount'],
      [{ type: 'flat', amount: -1 }, 400, 'amount'],
      [{ type: 'flat', amount: '700' }, 400, 'amount'],
      [{ type: 'flat', amount: 700, min: -1 }, 400, 'min'],
    ])('a fee of %j is refused with %d, naming %s', async (fee, status, field) => {
      const id = await newDriver(cabs);
      problemOf(await cabs.http.put(`/drivers/${id}/fee`).send(fee), status, field);
      problemOf(await cabs.http.post('/drivers').send({ ...DRIVER, fee }), status, `fee.${field}`);
      expect(await get(cabs, `/drivers/${id}`)).toMatchObject({ fee: null });
    });
  });

  describe('A whole ride', () => {
    it('of 42 km on a Wednesday costs 5100, pays the driver 4856, and gives 10 miles and one invoice', async () => {
      const clientId = await newClient(cabs);
      await post(cabs, `/clients/${clientId}/awards`, {}, 201);
      await post(cabs, `/clients/${clientId}/awards/activate`);
      const driverId = await newDriver(cabs, { type: 'percentage', amount: 480, min: 1000 });
      const { id } = await newRide(cabs, clientId);
      await post(cabs, `/transits/${id}/publish`);
      await take(cabs, id, driverId);
      await post(cabs, `/transits/${id}/start`, { driverId });
      expect(await get(cabs, `/drivers/${driverId}`)).toMatchObject({ occupied: true });
      const body = { ...REACHED, driverId };
      const ride = bodyOf<Ride>(
        await cabs.http.post(`/transits/${id}/complete`).set('Prefer', 'wait=10').send(body),
        200,
      );

      expect(transit.strict().safeParse(ride).error).toBeUndefined();
      expect(ride).toMatchObject({ status: 'COMPLETED', price: 5100, driverFee: 4856, distanceKm: 42, to: REACHED });
      expect(ride).not.toHaveProperty('settlementSince');
      expect(await get(cabs, `/transits/${id}`)).toEqual(ride);
      expect(await get(cabs, `/drivers/${driverId}`)).toMatchObject({ occupied: false });
      const awards = { clientId, active: true, balance: 10, transactions: 1 };
      expect(await get(cabs, `/clients/${clientId}/awards`)).toEqual(awards);
      const invoice = { transitId: id, amount: 5100, subjectName: 'Jane Roe' };
      expect(await get(cabs, `/invoices?transitId=${id}`)).toEqual([expect.objectContaining(invoice)]);
    });

    it('is estimated by the tariff of the request, and priced by the tariff of the start', async () => {
      const driverId = await newDriver(cabs, { type: 'flat', amount: 700 });
      const { id, estimatedPrice } = await newRide(cabs);
      await post(cabs, `/transits/${id}/publish`);
      await take(cabs, id, driverId);
      clock.set('2021-04-17T17:30:00.000Z'); // Saturday, 19:30 in Warsaw
      await post(cabs, `/transits/${id}/start`);
      clock.set('2021-12-31T12:00:00.000Z');
      const reply = await cabs.http.post(`/transits/${id}/complete`).set('Prefer', 'wait=10').send(PLANNED);
      const { price, driverFee, tariff } = bodyOf<Ride>(reply, 200);
      expect({ estimatedPrice, price, driverFee }).toEqual({ estimatedPrice: 5100, price: 11_500, driverFee: 10_800 });
      expect(tariff).toEqual({ name: 'Weekend+', kmRate: 2.5, baseFeeCents: 1000 });
    });

    it('gives miles that expire after 365 days', async () => {
      const clientId = await newClient(cabs);
      const awards = `/clients/${clientId}/awards`;
      await post(cabs, awards, {}, 201);
      await post(cabs, `${awards}/activate`);
      const [{ id }, driverId] = [await newRide(cabs, clientId), await newDriver(cabs)];
      await post(cabs, `/transits/${id}/publish`);
      await take(cabs, id, driverId);
      await post(cabs, `/transits/${id}/start`);
      bodyOf(await cabs.http.post(`/transits/${id}/complete`).set('Prefer', 'wait=10').send(PLANNED), 200);
      clock.set('2022-04-14T09:59:59.000Z');
      expect(await get(cabs, awards)).toMatchObject({ balance: 10 });
      clock.set('2022-04-14T10:01:00.000Z');
      expect(await get(cabs, awards)).toMatchObject({ balance: 0, transactions: 1 });
    });
  });

  it('the address of a ride is stored with the hash of the legacy application', async () => {
    const request = { clientId: await newClient(cabs), from: PICKUP, to: { ...REACHED, hash: 1 } };
    const { from, to } = await post<Ride>(cabs, '/transits', request, 201);
    await waitUntilIdle(cabs);
    const located = { latitude: null, longitude: null };
    expect(await get(cabs, `/addresses/${from.id}`)).toEqual({ ...PICKUP, ...located, id: from.id, hash: 1289936227 });
    expect(await get(cabs, `/addresses/${to.id.toUpperCase()}`)).toMatchObject({ ...REACHED, hash: -580606919 });
  });

  it('a ride that has not ended has no invoice, and neither has an unknown ride', async () => {
    const { id } = await newRide(cabs);
    expect(await get(cabs, `/invoices?transitId=${id}`)).toEqual([]);
    expect(await get(cabs, '/invoices?transitId=00000000-0000-0000-0000-000000000000')).toEqual([]);
    problemOf(await cabs.http.get('/invoices'), 400, 'transitId');
    problemOf(await cabs.http.get('/invoices?transitId=1'), 400, 'transitId');
  });

  it('every reply has the correlation id of its request, or a new one', async () => {
    expect((await cabs.http.get('/health/live').set('X-Correlation-Id', 'abc')).get('x-correlation-id')).toBe('abc');
    for (const odd of ['a b', 'x'.repeat(65), 'é']) {
      const { headers } = await cabs.http.get('/health/live').set('X-Correlation-Id', odd);
      expect(headers['x-correlation-id']).toMatch(/^[\da-f-]{36}$/);
    }
  });
});

describe.each(DATABASES)('Health and administration on $kind', ({ fresh }) => {
  let cabs: Cabs | undefined;

  const start = async (...parameters: Parameters<typeof startCabs>) => {
    await cabs?.close();
    return (cabs = await startCabs(...parameters));
  };
  afterEach(async () => {
    await cabs?.close();
    cabs = undefined;
  });

  it('a process is live and ready, and no longer ready once its relay has stopped', async () => {
    const { app, http } = await start(await fresh());
    expect(bodyOf(await http.get('/health/live'), 200)).toEqual({ status: 'live' });
    expect(bodyOf(await http.get('/health/ready'), 200)).toEqual({ status: 'ready' });
    await app.get(Relay).stop(performance.now() + 1000);
    const reply = await http.get('/health/ready');
    problemOf(reply, 503);
    expect(reply.headers['retry-after']).toBe('1');
    expect(bodyOf(await http.get('/health/live'), 200)).toEqual({ status: 'live' });
  });

  it('readiness shows that the broker is unreachable, without its address', async () => {
    const cabs = await start(await fresh(), { MESH_TRANSPORT: 'knative', K_SINK: 'http://127.0.0.1:9/cabs/default' });
    await newRide(cabs);
    const { broker } = await eventually(
      () => get<{ broker: { unreachable?: object } }>(cabs, '/health/ready'),
      (it) => it.broker.unreachable !== undefined,
    );
    expect(Object.keys(broker.unreachable!).sort()).toEqual(['attempts', 'since']);
    expect(await get(cabs, '/mesh/outbox')).toMatchObject({
      broker: { unreachable: { reason: expect.any(String) as unknown } },
    });
  });

  it('the outbox counts its messages, for callers with the administration token', async () => {
    const url = await fresh();
    const open = await start(url);
    await newRide(open);
    await waitUntilIdle(open);
    const nothing = { pending: 0, ready: 0, retrying: 0, deadLetters: 0, lagMs: 0, consumers: {} };
    expect(await get(open, '/mesh/outbox')).toEqual(nothing);
    await open.app.get(Relay).stop(performance.now() + 1000);
    await newRide(open);
    expect(await get(open, '/mesh/outbox')).toMatchObject({ pending: 1, ready: 1 });

    const guarded = await start(url, { MESH_ADMIN_TOKEN: 'sesame-sesame-sesame' });
    problemOf(await guarded.http.get('/mesh/outbox'), 401, 'Authorization');
    const wrong = guarded.http.get('/mesh/outbox').set('Authorization', 'Bearer sesame-sesame-sesamf');
    problemOf(await wrong, 401, 'Authorization');
    bodyOf(await guarded.http.get('/mesh/outbox').set('Authorization', 'Bearer sesame-sesame-sesame'), 200);

    const closed = await start(url, { NODE_ENV: 'production' });
    problemOf(await closed.http.get('/mesh/outbox'), 404);
  });
});
