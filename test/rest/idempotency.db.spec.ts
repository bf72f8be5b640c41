import { PICKUP, PLANNED, REACHED } from '../../src/demo.js';
import { Database } from '../../src/infrastructure/persistence/database.js';
import { startCabs, type Cabs } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';
import {
  waitUntilIdle,
  bodyOf,
  get,
  newClient,
  newDriver,
  post,
  problemOf,
  transitIn,
  type Client,
  type Ride,
} from '../support/rest.js';

describe.each(DATABASES)('Idempotency-Key on $kind', ({ fresh }) => {
  let url: string;
  let cabs: Cabs;
  let keys = 0;

  beforeAll(async () => {
    url = await fresh();
    await start();
  });
  afterAll(() => cabs.close());

  async function start(): Promise<void> {
    cabs = await startCabs(url);
    await cabs.app.listen(0, '127.0.0.1');
  }

  const newKey = () => `key-${++keys}`;
  const send = (path: string, key: string, body: object) => cabs.http.post(path).set('Idempotency-Key', key).send(body);
  const rows = async (table: string): Promise<number> => {
    const { read } = cabs.app.get(Database);
    const [counted] = await read.all<{ n: number | string }>(`SELECT COUNT(*) AS n FROM ${table}`);
    return Number(counted!.n);
  };

  /** The routes that take a key: a valid request, the same with its fields in another order, and another valid request. */
  const ROUTES = [
    {
      route: '/clients',
      table: 'clients_client',
      make: async () => ({
        path: '/clients',
        body: { name: 'Jane', lastName: 'Roe' },
        reordered: { lastName: 'Roe', name: 'Jane' },
        other: { name: 'John', lastName: 'Roe' },
      }),
    },
    {
      route: '/drivers',
      table: 'drivers_driver',
      make: async () => ({
        path: '/drivers',
        body: { firstName: 'Ada', lastName: 'Byron', driverLicense: '', fee: { type: 'flat', amount: 7 } },
        reordered: { fee: { amount: 7, type: 'flat' }, driverLicense: '', lastName: 'Byron', firstName: 'Ada' },
        other: { firstName: 'Ada', lastName: 'Byron', driverLicense: '', fee: { type: 'flat', amount: 8 } },
      }),
    },
    {
      route: '/transits',
      table: 'rides_transit',
      make: async () => {
        const clientId = await newClient(cabs);
        const body = { clientId, from: PICKUP, to: PLANNED };
        const reordered = { to: PLANNED, from: PICKUP, clientId };
        return { path: '/transits', body, reordered, other: { ...body, to: REACHED } };
      },
    },
    {
      route: '/transits/:id/complete',
      table: 'invoicing_invoice',
      make: async () => {
        const { id } = await transitIn(cabs, 'IN_TRANSIT');
        const reordered = Object.fromEntries(Object.entries(REACHED).reverse());
        return { path: `/transits/${id}/complete`, body: REACHED, reordered, other: PLANNED };
      },
    },
  ];

  describe.each(ROUTES)('POST $route', ({ table, make }) => {
    it('a repeated request has one effect and gets the same reply', async () => {
      const { path, body, reordered } = await make();
      const before = await rows(table);
      const key = newKey();
      const first = await send(path, key, body);
      expect(first.ok).toBe(true);
      await waitUntilIdle(cabs);
      for (const again of [body, reordered]) {
        const reply = await send(path, key, again);
        expect(bodyOf(reply, first.status)).toEqual(first.body);
        expect(reply.headers.location).toBe(first.headers.location);
      }
      await waitUntilIdle(cabs);
      expect((await rows(table)) - before).toBe(1);
    });

    it('a request that is sent ten times at once has one effect, and each copy gets its reply or 409', async () => {
      const { path, body } = await make();
      const before = await rows(table);
      const key = newKey();
      const replies = await Promise.all(Array.from({ length: 10 }, () => send(path, key, body)));
      const answered = replies.filter(({ ok }) => ok);
      expect(answered.length).toBeGreaterThan(0);
      for (const reply of answered) expect(reply.body).toEqual(answered[0]!.body);
      for (const reply of replies.filter(({ ok }) => !ok)) problemOf(reply, 409, 'Idempotency-Key');
      expect(bodyOf(await send(path, key, body), answered[0]!.status)).toEqual(answered[0]!.body);
      await waitUntilIdle(cabs);
      expect((await rows(table)) - before).toBe(1);
    });

    it('a key of another request is answered 422', async () => {
      const { path, body, other } = await make();
      const key = newKey();
      expect((await send(path, key, body)).ok).toBe(true);
      await waitUntilIdle(cabs);
      const before = await rows(table);
      problemOf(await send(path, key, other), 422, 'Idempotency-Key');
      await waitUntilIdle(cabs);
      expect(await rows(table)).toBe(before);
    });

    it('a key survives a restart', async () => {
      const { path, body, other } = await make();
      const key = newKey();
      const first = await send(path, key, body);
      await waitUntilIdle(cabs);
      await cabs.close();
      await start();
      const before = await rows(table);
      expect(bodyOf(await send(path, key, body), first.status)).toEqual(first.body);
      problemOf(await send(path, key, other), 422, 'Idempotency-Key');
      expect(await rows(table)).toBe(before);
    });

    it('a refused request leaves its key free for the corrected request', async () => {
      const { path, body } = await make();
      const key = newKey();
      const kept = await rows('mesh_idempotency_key');
      const wrong = Object.fromEntries(Object.keys(body).map((field) => [field, null]));
      expect((await send(path, key, wrong)).status).toBe(400);
      expect(await rows('mesh_idempotency_key')).toBe(kept);
      const corrected = await send(path, key, body);
      expect(corrected.ok).toBe(true);
      expect((await send(path, key, body)).body).toEqual(corrected.body);
      problemOf(await send(path, key, wrong), 422, 'Idempotency-Key');
    });
  });

  it('a request refused by a business rule or by the state leaves its key free as well', async () => {
    const key = newKey();
    const driver = { firstName: 'Ada', lastName: 'Byron', driverLicense: '' };
    problemOf(await send('/drivers', key, { ...driver, fee: { type: 'flat', amount: 0 } }), 422, 'fee.amount');
    bodyOf(await send('/drivers', key, driver), 201);

    const [unknown, ride] = [newKey(), { from: PICKUP, to: PLANNED }];
    problemOf(await send('/transits', unknown, { ...ride, clientId: 2 ** 31 }), 404, 'clientId');
    bodyOf(await send('/transits', unknown, { ...ride, clientId: await newClient(cabs) }), 201);

    // The same request again: the state that refused it has changed.
    const early = newKey();
    const { id } = await transitIn(cabs, 'TRANSIT_TO_PASSENGER');
    problemOf(
      await send(`/transits/${id}/complete`, early, { ...REACHED, driverId: await newDriver(cabs) }),
      403,
      'driverId',
    );
    problemOf(await send(`/transits/${id}/complete`, early, REACHED), 409);
    await post(cabs, `/transits/${id}/start`);
    bodyOf(await send(`/transits/${id}/complete`, early, REACHED), 202);
  });

  it('a repeated completion gets the first acceptance, or the present state when the client waits', async () => {
    const { id } = await transitIn(cabs, 'IN_TRANSIT');
    const key = newKey();
    const complete = () => send(`/transits/${id}/complete`, key, REACHED).set('Prefer', 'wait=10');
    const first = bodyOf<Ride>(await complete(), 200);
    expect(first.status).toBe('COMPLETED');
    const again = await send(`/transits/${id}/complete`, key, REACHED);
    expect(bodyOf<Ride>(again, 202)).toMatchObject({ id, status: 'COMPLETING' });
    const waiting = await complete();
    expect(bodyOf<Ride>(waiting, 200)).toEqual(await get(cabs, `/transits/${id}`));
    expect(waiting.headers['preference-applied']).toBe('wait=10');
    for (const reply of [again, waiting]) expect(reply.headers.location).toBe(`/transits/${id}`);
    expect(await get(cabs, `/invoices?transitId=${id}`)).toHaveLength(1);
  });

  it('a key holds across two processes on one database', async () => {
    const other = await startCabs(url);
    await other.app.listen(0, '127.0.0.1');
    const before = await rows('clients_client');
    const key = newKey();
    const processes = Array.from({ length: 10 }, (_, n) => (n % 2 ? other : cabs));
    const replies = await Promise.all(
      processes.map(({ http }) => http.post('/clients').set('Idempotency-Key', key).send({ name: 'A', lastName: 'B' })),
    );
    await other.close();
    const answered = replies.filter(({ ok }) => ok);
    expect(answered.length).toBeGreaterThan(0);
    for (const reply of answered) expect(reply.body).toEqual(answered[0]!.body);
    for (const reply of replies.filter(({ ok }) => !ok)) problemOf(reply, 409, 'Idempotency-Key');
    expect((await rows('clients_client')) - before).toBe(1);
  });

  it('a key belongs to its sender: others neither see the reply nor are refused', async () => {
    const key = newKey();
    const register = (name: string, authorization?: string) => {
      const sent = send('/clients', key, { name, lastName: 'Roe' });
      return authorization ? sent.set('Authorization', authorization) : sent;
    };
    const senders = [undefined, 'Bearer one', 'Bearer other', 'Basic b25lOm9uZQ=='];
    const replies = [];
    for (const [n, it] of senders.entries()) replies.push(bodyOf<Client>(await register(`Jane ${n}`, it), 201));
    expect(new Set(replies.map(({ id }) => id)).size).toBe(4);
    for (const [n, it] of senders.entries()) {
      expect(bodyOf(await register(`Jane ${n}`, it), 201)).toEqual(replies[n]);
      problemOf(await register('June', it), 422, 'Idempotency-Key');
    }
  });

  it('a key belongs to one route', async () => {
    const key = newKey();
    const body = { name: 'Jane', lastName: 'Roe', firstName: 'Jane', driverLicense: '' };
    bodyOf(await send('/clients', key, body), 201);
    problemOf(await send('/drivers', key, body), 422, 'Idempotency-Key');
  });

  it.each(['', ' ', 'a b', 'x'.repeat(256), 'clé'])('the key "%s" is answered 400 and has no effect', async (key) => {
    const before = await rows('clients_client');
    problemOf(await send('/clients', key, { name: 'Jane', lastName: 'Roe' }), 400, 'Idempotency-Key');
    expect(await rows('clients_client')).toBe(before);
  });

  it('without a key the same request creates another client', async () => {
    const [one, other] = [await newClient(cabs), await newClient(cabs)];
    expect(one).not.toBe(other);
  });
});
