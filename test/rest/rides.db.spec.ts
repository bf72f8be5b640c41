import { PICKUP, PLANNED, REACHED } from '../../src/demo.js';
import { Relay } from '../../src/infrastructure/outbox/relay.js';
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
  transitIn,
  take,
} from '../support/rest.js';
import { TestClock, type Driver, type Ride } from '../support/rest.js';

interface Page {
  readonly items: Ride[];
  readonly total: number;
}

describe.each(DATABASES)('Rides over REST on $kind', ({ fresh }) => {
  let cabs: Cabs;

  beforeAll(async () => {
    cabs = await startCabs(await fresh(), {}, new TestClock().override);
    await cabs.app.listen(0, '127.0.0.1');
  });
  afterAll(() => cabs.close());

  const isFree = (driverId: number) =>
    eventually(
      () => get<Driver>(cabs, `/drivers/${driverId}`),
      ({ occupied }) => !occupied,
    );

  describe('Requesting', () => {
    it('a ride is a draft with an estimated price, found at the Location of the reply', async () => {
      const clientId = await newClient(cabs);
      const body = { clientId, from: PICKUP, to: PLANNED, carClass: 'van' };
      const reply = await cabs.http.post('/transits').send(body);
      const ride = bodyOf<Ride>(reply, 201);
      expect(reply.headers.location).toBe(`/transits/${ride.id}`);
      expect(ride).toMatchObject({ status: 'DRAFT', clientId, carClass: 'VAN', from: PICKUP, to: PLANNED });
      expect(ride).toMatchObject({ distanceKm: 42, estimatedPrice: 5100, tariff: { name: 'Standard' } });
      for (const field of ['price', 'driverId', 'settlement', 'publishedAt']) expect(ride).not.toHaveProperty(field);
      expect(await get(cabs, reply.headers.location!)).toEqual(ride);
      expect(await get(cabs, `/transits/${ride.id.toUpperCase()}`)).toEqual(ride);
    });

    it('an address is the same with other case and spacing, and differs with another flat', async () => {
      const { to } = await newRide(cabs);
      const shouted = { ...PLANNED, city: ' WARSZAWA', street: 'ŻYTNIA ' };
      const clientId = await newClient(cabs);
      const same = await post<Ride>(cabs, '/transits', { clientId, from: PICKUP, to: shouted }, 201);
      const flat = { ...PLANNED, additionalNumber: 4 };
      const other = await post<Ride>(cabs, '/transits', { clientId, from: PICKUP, to: flat }, 201);
      expect([same.to.id === to.id, other.to.id === to.id]).toEqual([true, false]);
    });
  });

  describe('Listing', () => {
    it('rides come in pages, the latest first', async () => {
      const clientId = await newClient(cabs);
      const ids: string[] = [];
      for (let n = 0; n < 5; n++) ids.unshift((await newRide(cabs, clientId)).id);
      const seen: string[] = [];
      for (const [page, count] of [2, 2, 1, 0].entries()) {
        const found = await get<Page>(cabs, `/transits?clientId=${clientId}&size=2&page=${page + 1}`);
        expect(found).toMatchObject({ page: page + 1, size: 2, total: 5 });
        expect(found.items).toHaveLength(count);
        seen.push(...found.items.map(({ id }) => id));
      }
      expect(seen).toEqual(ids);
      expect((await get<Page>(cabs, '/transits')).items.length).toBeLessThanOrEqual(20);
    });

    it('rides are found by client and by state, in any case', async () => {
      const clientId = await newClient(cabs);
      const [{ id }] = [await newRide(cabs, clientId), await newRide(cabs, clientId)];
      await post(cabs, `/transits/${id}/cancel`);
      const cancelled = await get<Page>(cabs, `/transits?clientId=${clientId}&status=cancelled`);
      expect(cancelled.items.map((it) => it.id)).toEqual([id]);
      const all = await get<Page>(cabs, '/transits?status=CANCELLED&size=100');
      expect(new Set(all.items.map(({ status }) => status))).toEqual(new Set(['CANCELLED']));
    });

    it.each(['2147483647', '2147483648', '99999999999', '99999999999999999999'])(
      'client %s has no rides',
      async (clientId) => {
        const nothing = { items: [], page: 1, size: 20, total: 0 };
        expect(await get(cabs, `/transits?clientId=${clientId}`)).toEqual(nothing);
      },
    );

    it('older rides are found with requestedBefore', async () => {
      const clientId = await newClient(cabs);
      const [older, newer] = [await newRide(cabs, clientId), await newRide(cabs, clientId)];
      const before = (moment: string) => get<Page>(cabs, `/transits?clientId=${clientId}&requestedBefore=${moment}`);
      expect(await before(newer.requestedAt)).toMatchObject({ items: [{ id: older.id }], total: 1 });
      expect(await before(older.requestedAt)).toMatchObject({ items: [], total: 0 });
      // Without fractions of a second.
      expect(await before('2021-04-14T09:59:59Z')).toMatchObject({ total: 0 });
      expect(await before('2100-01-01T00:00:00Z')).toMatchObject({ total: 2 });
    });

    it.each([
      ['/transits?client=1', ['client']],
      ['/transits?page=1&Status=DRAFT&x=1&x=2', ['Status', 'x']],
      ['/invoices?transit=1', ['transit', 'transitId']],
    ])('GET %s is refused, naming the unknown parameters', async (path, fields) => {
      const { errors } = problemOf(await cabs.http.get(path), 400, ...fields);
      expect(errors).toContainEqual(
        expect.objectContaining({ detail: expect.stringMatching(/^unknown query parameter, expected one of \w+/) }),
      );
    });

    it.each([
      ...['page=0', 'page=-1', 'page=x', 'page=101', 'page=9999999', 'size=0', 'size=101', 'clientId=0', 'clientId=x'],
      ...['status=LOST', 'requestedBefore=yesterday', 'requestedBefore=2021-04-14T10:00:00%2B02:00'],
    ])('a list with ?%s is refused, naming the parameter', async (query) => {
      problemOf(await cabs.http.get(`/transits?${query}`), 400, query.split('=')[0]!);
      problemOf(await cabs.http.get(`/transits?page=1&${query}&${query}`), 400, query.split('=')[0]!);
    });
  });

  describe('Accepting', () => {
    it('a ride is published once, and accepted only then', async () => {
      const [{ id }, driverId] = [await newRide(cabs), await newDriver(cabs)];
      problemOf(await cabs.http.post(`/transits/${id}/accept`).send({ driverId }), 409);
      expect(await post(cabs, `/transits/${id}/publish`)).toMatchObject({ status: 'WAITING_FOR_DRIVER_ASSIGNMENT' });
      problemOf(await cabs.http.post(`/transits/${id}/publish`), 409);
    });

    it('a driver who accepts gets 202, and the ride once that is confirmed', async () => {
      const { id } = await transitIn(cabs, 'WAITING_FOR_DRIVER_ASSIGNMENT');
      const driverId = await newDriver(cabs);
      const reply = await cabs.http.post(`/transits/${id}/accept`).send({ driverId });
      expect(bodyOf(reply, 202)).toMatchObject({ id, driverId, status: 'ACCEPTING' });
      expect(reply.headers.location).toBe(`/transits/${id}`);
      expect(reply.headers).not.toHaveProperty('preference-applied');
      const ride = await eventually(
        () => get<Ride>(cabs, `/transits/${id}`),
        ({ status }) => status === 'TRANSIT_TO_PASSENGER',
      );
      expect(ride).toMatchObject({ driverId, acceptedAt: expect.any(String) as unknown });
      expect(await get(cabs, `/drivers/${driverId}`)).toMatchObject({ occupied: true });
    });

    it.each([
      ['wait=9', 'wait=9'],
      ['respond-async, wait="8"', 'wait=8'],
      ['wait=3600', 'wait=10'],
    ])(
      'a driver who prefers "%s" gets 200 and the confirmed ride, and may repeat the request',
      async (prefer, applied) => {
        const { id } = await transitIn(cabs, 'WAITING_FOR_DRIVER_ASSIGNMENT');
        const driverId = await newDriver(cabs);
        for (let time = 0; time < 2; time++) {
          const reply = await cabs.http.post(`/transits/${id}/accept`).set('Prefer', prefer).send({ driverId });
          expect(bodyOf(reply, 200)).toMatchObject({ driverId, status: 'TRANSIT_TO_PASSENGER' });
          expect(reply.headers['preference-applied']).toBe(applied);
        }
      },
    );

    it('three rides that one driver accepts at the same time: exactly one gets the driver', async () => {
      const driverId = await newDriver(cabs);
      const waiting = [1, 2, 3].map(() => transitIn(cabs, 'WAITING_FOR_DRIVER_ASSIGNMENT'));
      const ids = (await Promise.all(waiting)).map(({ id }) => id);
      const accept = (id: string) =>
        cabs.http.post(`/transits/${id}/accept`).set('Prefer', 'wait=10').send({ driverId });
      const replies = await Promise.all(ids.map(accept));
      expect(replies.map(({ status }) => status).sort()).toEqual([200, 409, 409]);
      for (const reply of replies.filter((it) => it.status === 409)) problemOf(reply, 409, 'driverId');
      await waitUntilIdle(cabs);
      const rides = await Promise.all(ids.map((id) => get<Ride>(cabs, `/transits/${id}`)));
      const waits = 'WAITING_FOR_DRIVER_ASSIGNMENT';
      expect(rides.map(({ status }) => status).sort()).toEqual(['TRANSIT_TO_PASSENGER', waits, waits]);
      expect(rides.filter((ride) => ride.driverId === driverId)).toHaveLength(1);
    });

    it('two drivers who accept one ride at the same time: exactly one gets it, the other stays free', async () => {
      const { id } = await transitIn(cabs, 'WAITING_FOR_DRIVER_ASSIGNMENT');
      const drivers = [await newDriver(cabs), await newDriver(cabs)];
      const accept = (driverId: number) =>
        cabs.http.post(`/transits/${id}/accept`).set('Prefer', 'wait=10').send({ driverId });
      const replies = await Promise.all(drivers.map(accept));
      expect(replies.map(({ status }) => status).sort()).toEqual([200, 409]);
      await waitUntilIdle(cabs);
      const occupied = await Promise.all(drivers.map((it) => get<Driver>(cabs, `/drivers/${it}`)));
      expect(occupied.filter((it) => it.occupied)).toHaveLength(1);
    });

    it('a driver who has rejected the ride, is inactive or on another ride does not get it', async () => {
      const { id } = await transitIn(cabs, 'WAITING_FOR_DRIVER_ASSIGNMENT');
      const [rejecting, inactive] = [await newDriver(cabs), await newDriver(cabs)];
      const { driverId: busy } = await transitIn(cabs, 'IN_TRANSIT');
      await post(cabs, `/transits/${id}/reject`, { driverId: rejecting });
      await post(cabs, `/transits/${id}/reject`, { driverId: rejecting });
      await post(cabs, `/drivers/${inactive}/deactivate`);
      for (const driverId of [rejecting, inactive, busy]) {
        problemOf(await cabs.http.post(`/transits/${id}/accept`).send({ driverId }), 409, 'driverId');
      }
      expect(await get(cabs, `/transits/${id}`)).toMatchObject({ status: 'WAITING_FOR_DRIVER_ASSIGNMENT' });
      await take(cabs, id, await newDriver(cabs));
      problemOf(await cabs.http.post(`/transits/${id}/reject`).send({ driverId: rejecting }), 409);
    });
  });

  describe('Cancelling', () => {
    it('the driver of a cancelled ride is free for another one', async () => {
      const { id, driverId } = await transitIn(cabs, 'TRANSIT_TO_PASSENGER');
      expect(await post(cabs, `/transits/${id}/cancel`)).toMatchObject({ status: 'CANCELLED' });
      await isFree(driverId);
      const other = await transitIn(cabs, 'WAITING_FOR_DRIVER_ASSIGNMENT');
      await take(cabs, other.id, driverId);
    });

    it('a ride that is cancelled before its driver is confirmed leaves the driver free', async () => {
      const { id } = await transitIn(cabs, 'WAITING_FOR_DRIVER_ASSIGNMENT');
      const driverId = await newDriver(cabs);
      await post(cabs, `/transits/${id}/accept`, { driverId }, 202);
      await post(cabs, `/transits/${id}/cancel`);
      await waitUntilIdle(cabs);
      expect(await get(cabs, `/transits/${id}`)).toMatchObject({ status: 'CANCELLED' });
      expect(await get(cabs, `/drivers/${driverId}`)).toMatchObject({ occupied: false });
    });

    it('a cancelled ride refuses every action, and a ride in transit is not cancelled', async () => {
      const { id, driverId } = await transitIn(cabs, 'WAITING_FOR_DRIVER_ASSIGNMENT');
      await post(cabs, `/transits/${id}/cancel`);
      for (const action of ['publish', 'accept', 'reject', 'start', 'cancel', 'destination', 'complete']) {
        const body = /accept|reject/.test(action) ? { driverId } : /dest|compl/.test(action) ? REACHED : undefined;
        problemOf(await cabs.http.post(`/transits/${id}/${action}`).send(body), 409);
      }
      const { id: inTransit } = await transitIn(cabs, 'IN_TRANSIT');
      problemOf(await cabs.http.post(`/transits/${inTransit}/cancel`), 409);
    });
  });

  describe('Driving', () => {
    it('only the assigned driver starts the ride, once', async () => {
      const { id, driverId } = await transitIn(cabs, 'TRANSIT_TO_PASSENGER');
      const stranger = await newDriver(cabs);
      problemOf(await cabs.http.post(`/transits/${id}/start`).send({ driverId: stranger }), 403, 'driverId');
      expect(await post(cabs, `/transits/${id}/start`, { driverId })).toMatchObject({ status: 'IN_TRANSIT' });
      problemOf(await cabs.http.post(`/transits/${id}/start`).send({ driverId }), 409);
    });

    it.each(['DRAFT', 'WAITING_FOR_DRIVER_ASSIGNMENT', 'TRANSIT_TO_PASSENGER', 'IN_TRANSIT'] as const)(
      'a ride that is %s can get another destination',
      async (status) => {
        const { id } = await transitIn(cabs, status);
        const ride = await post<Ride>(cabs, `/transits/${id}/destination`, REACHED);
        expect(ride).toMatchObject({ status, to: REACHED, distanceKm: 42, estimatedPrice: 5100 });
        expect(await get(cabs, `/transits/${id}`)).toEqual(ride);
      },
    );

    it.each(['DRAFT', 'WAITING_FOR_DRIVER_ASSIGNMENT', 'TRANSIT_TO_PASSENGER'] as const)(
      'a ride that is %s can not be completed',
      async (status) => {
        const { id } = await transitIn(cabs, status);
        problemOf(await cabs.http.post(`/transits/${id}/complete`).send(PLANNED), 409);
        expect(await get(cabs, `/transits/${id}`)).toMatchObject({ status, to: PLANNED });
      },
    );
  });

  describe('Completing', () => {
    it('a completion is accepted with 202 and settled; a repetition is accepted, another destination is not', async () => {
      const { id, driverId } = await transitIn(cabs, 'IN_TRANSIT');
      const complete = (body: object) => cabs.http.post(`/transits/${id}/complete`).send(body);
      const stranger = await newDriver(cabs);
      problemOf(await complete({ ...REACHED, driverId: stranger }), 403, 'driverId');
      const reply = await complete({ ...REACHED, driverId });
      expect(bodyOf(reply, 202)).toMatchObject({ status: 'COMPLETING', to: REACHED });
      expect(reply.headers.location).toBe(`/transits/${id}`);
      for (const wait of [async () => undefined, () => waitUntilIdle(cabs)]) {
        await wait();
        bodyOf(await complete(REACHED), 202);
        problemOf(await complete(PLANNED), 409);
        problemOf(await complete({ ...REACHED, driverId: stranger }), 403, 'driverId');
        problemOf(await cabs.http.post(`/transits/${id}/destination`).send(REACHED), 409);
      }
      expect(await get(cabs, `/transits/${id}`)).toMatchObject({ status: 'COMPLETED', price: 5100, driverFee: 4998 });
      expect(await get(cabs, `/invoices?transitId=${id}`)).toHaveLength(1);
      const other = await transitIn(cabs, 'WAITING_FOR_DRIVER_ASSIGNMENT');
      await take(cabs, other.id, driverId);
    });

    it('a client who prefers to wait gets 200 and the settled ride', async () => {
      const { id } = await transitIn(cabs, 'IN_TRANSIT');
      const reply = await cabs.http.post(`/transits/${id}/complete`).set('Prefer', 'wait=10').send(REACHED);
      const settled = { driverFee: 'settled', driverFreed: 'settled', miles: 'settled', invoice: 'settled' };
      expect(bodyOf(reply, 200)).toMatchObject({ status: 'COMPLETED', settlement: settled, to: REACHED });
      expect(reply.headers['preference-applied']).toBe('wait=10');
    });

    it('one ride completed ten times at the same time is settled once', async () => {
      const { id } = await transitIn(cabs, 'IN_TRANSIT');
      const complete = () => cabs.http.post(`/transits/${id}/complete`).set('Prefer', 'wait=10').send(REACHED);
      const replies = await Promise.all(Array.from({ length: 10 }, complete));
      expect(replies.map(({ status }) => status)).toEqual(Array(10).fill(200));
      expect(await get(cabs, `/invoices?transitId=${id}`)).toHaveLength(1);
    });
  });
});

describe.each(DATABASES)('Rides without a running relay on $kind', ({ fresh }) => {
  let cabs: Cabs;
  afterEach(() => cabs.close());

  it('a ride is not started before its driver is confirmed, gets no other destination while it settles, and continues after a restart', async () => {
    const url = await fresh();
    cabs = await startCabs(url);
    const waiting = await transitIn(cabs, 'WAITING_FOR_DRIVER_ASSIGNMENT');
    const inTransit = await transitIn(cabs, 'IN_TRANSIT');
    await waitUntilIdle(cabs);
    await cabs.app.get(Relay).stop(performance.now() + 1000);

    const { id, driverId } = waiting;
    const patient = cabs.http.post(`/transits/${id}/accept`).set('Prefer', 'wait=1').send({ driverId });
    expect(bodyOf(await patient, 202)).toMatchObject({ status: 'ACCEPTING', driverId });
    problemOf(await cabs.http.post(`/transits/${id}/start`), 409);
    const rival = await newDriver(cabs);
    problemOf(await cabs.http.post(`/transits/${id}/accept`).send({ driverId: rival }), 409);
    const completing = await post<Ride>(cabs, `/transits/${inTransit.id}/complete`, REACHED, 202);
    expect(completing).toMatchObject({ status: 'COMPLETING', settlement: { invoice: 'pending' } });
    expect(Date.parse(completing.settlementSince!)).toBeGreaterThan(0);
    problemOf(await cabs.http.post(`/transits/${inTransit.id}/destination`).send(REACHED), 409);
    problemOf(await cabs.http.post(`/transits/${inTransit.id}/complete`).send(PLANNED), 409);
    expect(await post(cabs, `/transits/${inTransit.id}/complete`, REACHED, 202)).toEqual(completing);

    await cabs.close();
    cabs = await startCabs(url);
    await waitUntilIdle(cabs);
    expect(await post(cabs, `/transits/${id}/start`, { driverId })).toMatchObject({ status: 'IN_TRANSIT', driverId });
    expect(await get(cabs, `/transits/${inTransit.id}`)).toMatchObject({ status: 'COMPLETED', to: REACHED });
  });
});
