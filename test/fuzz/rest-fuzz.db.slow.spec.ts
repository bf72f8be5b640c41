import { request as send, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import fc from 'fast-check';
import { PICKUP, PLANNED, REACHED } from '../../src/demo.js';
import { toWire } from '../../src/infrastructure/cloudevents/mapping.js';
import { Database } from '../../src/infrastructure/persistence/database.js';
import { eventually, startCabs, type Cabs } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';
import { waitUntilIdle, get, newClient, newDriver, newRide, post, transitIn, type Driver } from '../support/rest.js';
import { itThorough } from '../support/thorough.js';
import { runConcurrently, call, memoryOf, prepareRides, startServer } from '../support/server.js';

/** Runs per database. Set FUZZ_RUNS=5000 for a longer search. */
const RUNS = Number(process.env.FUZZ_RUNS ?? 600);

/** Requests of each round of the memory test. */
const ROUND = 4000;

/** The ids that requests refer to. New ids are added. */
interface Pool {
  readonly clients: unknown[];
  readonly drivers: unknown[];
  readonly transits: unknown[];
}
type Kind = keyof Pool;

interface Route {
  readonly method: string;
  readonly path: string;
  /** The kind of the id in the path and in the reply. */
  readonly of?: Kind;
  /** A valid body. */
  readonly body?: (pick: (kind: Kind) => unknown) => object;
}

const byDriver: Route['body'] = (pick) => ({ driverId: pick('drivers') });

/** The queries between modules, with valid bodies. */
const QUERIES: Record<string, NonNullable<Route['body']>> = {
  'read-client': (pick) => ({ 'client-id': pick('clients') }),
  'read-awards': (pick) => ({ 'client-id': pick('clients') }),
  'read-driver': (pick) => ({ 'driver-id': pick('drivers') }),
  'read-settled-transits': (pick) => ({
    transits: [{ 'transit-id': pick('transits'), 'driver-id': pick('drivers') }],
  }),
  'read-occupied-drivers': () => ({ after: 0, limit: 2 }),
  'read-stored-routes': (pick) => ({
    routes: [{ 'transit-id': pick('transits'), 'pickup-id': pick('transits'), 'destination-id': pick('transits') }],
  }),
  'measure-route': () => ({ from: toWire(PICKUP), to: toWire(PLANNED) }),
  'read-address': (pick) => ({ 'address-id': pick('transits') }),
  'read-invoices': (pick) => ({ 'transit-id': pick('transits') }),
  'read-invoiced-transits': (pick) => ({ 'transit-ids': [pick('transits')] }),
  'read-transit-miles': (pick) => ({ 'transit-ids': [pick('transits')] }),
  'read-transit': (pick) => ({ 'transit-id': pick('transits') }),
  'list-transits': (pick) => ({ 'client-id': pick('clients'), status: 'COMPLETED', page: 1, size: 2 }),
};

const ROUTES: readonly Route[] = [
  { method: 'POST', path: '/clients', of: 'clients', body: () => ({ name: 'Jane', lastName: 'Roe', type: 'VIP' }) },
  { method: 'GET', path: '/clients/:id', of: 'clients' },
  { method: 'POST', path: '/clients/:id/awards', of: 'clients' },
  { method: 'POST', path: '/clients/:id/awards/activate', of: 'clients' },
  { method: 'POST', path: '/clients/:id/awards/deactivate', of: 'clients' },
  { method: 'GET', path: '/clients/:id/awards', of: 'clients' },
  {
    method: 'POST',
    path: '/drivers',
    of: 'drivers',
    body: () => ({
      firstName: 'A',
      lastName: 'B',
      driverLicense: 'FARME100165AB5EW',
      fee: { type: 'flat', amount: 9, min: 1 },
    }),
  },
  { method: 'GET', path: '/drivers/:id', of: 'drivers' },
  { method: 'POST', path: '/drivers/:id/activate', of: 'drivers' },
  { method: 'POST', path: '/drivers/:id/deactivate', of: 'drivers' },
  { method: 'PUT', path: '/drivers/:id/fee', of: 'drivers', body: () => ({ type: 'flat', amount: 700, min: 300 }) },
  {
    method: 'POST',
    path: '/transits',
    of: 'transits',
    body: (pick) => ({ clientId: pick('clients'), from: PICKUP, to: PLANNED, carClass: 'ECO' }),
  },
  { method: 'GET', path: '/transits' },
  { method: 'GET', path: '/transits/:id', of: 'transits' },
  { method: 'POST', path: '/transits/:id/publish', of: 'transits' },
  { method: 'POST', path: '/transits/:id/accept', of: 'transits', body: byDriver },
  { method: 'POST', path: '/transits/:id/reject', of: 'transits', body: byDriver },
  { method: 'POST', path: '/transits/:id/start', of: 'transits', body: () => ({}) },
  { method: 'POST', path: '/transits/:id/cancel', of: 'transits' },
  { method: 'POST', path: '/transits/:id/destination', of: 'transits', body: () => REACHED },
  { method: 'POST', path: '/transits/:id/complete', of: 'transits', body: () => REACHED },
  { method: 'GET', path: '/addresses/:id', of: 'transits' },
  { method: 'GET', path: '/invoices?transitId=:id', of: 'transits' },
  { method: 'GET', path: '/mesh/outbox' },
  { method: 'GET', path: '/mesh/dead-letters' },
  { method: 'GET', path: '/mesh/dead-letters/:id', of: 'transits' },
  { method: 'DELETE', path: '/mesh/dead-letters/:id', of: 'transits' },
  { method: 'POST', path: '/mesh/dead-letters/replay' },
  { method: 'POST', path: '/mesh/dead-letters/:id/replay', of: 'transits' },
  { method: 'GET', path: '/mesh/reconciliations' },
  { method: 'POST', path: '/mesh/reconciliations/run' },
  { method: 'POST', path: '/mesh/reconciliations/run?dry-run=true' },
  { method: 'POST', path: '/mesh/reconciliations/run?after=PT0S' },
  { method: 'POST', path: '/mesh/queries/:id', of: 'transits' },
  ...Object.entries(QUERIES).map(([query, body]) => ({ method: 'POST', path: `/mesh/queries/${query}`, body })),
  { method: 'GET', path: '/health/live' },
  { method: 'GET', path: '/health/ready' },
];

/** Routes that move a transit forward. They are more frequent, or most transits would be cancelled early. */
const ONWARD = ROUTES.filter(({ path }) => /publish|accept|start|complete/.test(path));

/* Odd values are rare, or the first of them would refuse every request. */
const common = <T>(arbitrary: fc.Arbitrary<T>) => ({ arbitrary, weight: 12 });
const rare = <T>(arbitrary: fc.Arbitrary<T>) => ({ arbitrary, weight: 1 });
const rarely = <T>(arbitrary: fc.Arbitrary<T>) => fc.oneof(common(fc.constant(undefined)), rare(arbitrary));

const text = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 20 }),
  fc.constantFrom('a\0b', '\ud800', 'a\udfffb'),
  fc.constantFrom('', ' ', 'x'.repeat(300), '1', '__proto__', 'constructor', "'; --"),
);
const value = fc.oneof(
  text,
  fc.constantFrom<unknown>(null, true, -1, 0, -0, 0.5, 1e3, 2 ** 31 - 1, 2 ** 31, 2 ** 53, 1e308, [], {}, [[]], {
    id: 1,
  }),
  fc.jsonValue({ maxDepth: 3 }),
);
const encoded = text.map((it) => encodeURIComponent(Buffer.from(it).toString()));
const segment = fc.oneof(
  encoded,
  fc.constant('a%00'),
  fc.constantFrom('%', '%E0%A4%A', '%ff', '..', '%2e%2e', '%2F', "'", '*', '(', ':id', '[', '{', '0', '-1'),
  fc.constantFrom('2147483648', '99999999999', '1e3', '00000000-0000-4000-8000-000000000000'),
);
const parameter = fc.oneof(
  fc.constantFrom('page=1', 'size=2', 'status=draft', 'clientId=1', 'by=cause', 'force=true', 'page[a]=1', 'page[]=1'),
  fc.constantFrom('dry-run=true', 'dry-run=false', 'dry-run=', 'dry-run=1'),
  fc
    .tuple(
      fc.constantFrom('page', 'size', 'status', 'clientId', 'transitId', 'consumer', 'type', 'cause', 'by'),
      segment,
    )
    .map((pair) => pair.join('=')),
  encoded,
);
const headerText = fc.oneof(
  fc.constantFrom('a', 'b', 'c', '', 'x'.repeat(300), 'é', '0', '*'),
  fc.string({ maxLength: 20 }),
);

type Body =
  { kind: 'valid' } | { kind: 'none' } | { kind: 'json'; json: unknown } | { kind: 'raw'; raw: Buffer } | Twisted;
/** A valid body with one value replaced or removed. */
interface Twisted {
  readonly kind: 'twisted';
  readonly where: number[];
  readonly json: unknown;
}

const fuzzed = fc.record({
  route: fc.noBias(fc.constantFrom(...ROUTES, ...ONWARD, ...ONWARD)),
  method: rarely(fc.constantFrom('PATCH', 'PUT', 'DELETE', 'POST', 'GET', 'OPTIONS')),
  id: fc.oneof(common(fc.constant(undefined)), rare(segment)),
  /** Picks from the pool. */
  dice: fc.noBias(fc.nat()),
  body: fc.oneof<fc.MaybeWeightedArbitrary<Body>[]>(
    common(fc.constant({ kind: 'valid' })),
    common(fc.record({ kind: fc.constant('twisted'), where: fc.array(fc.nat(), { minLength: 1 }), json: value })),
    rare(fc.record({ kind: fc.constant('json'), json: value })),
    rare(fc.uint8Array({ maxLength: 50 }).map((bytes) => ({ kind: 'raw', raw: Buffer.from(bytes) }))),
    rare(fc.constant({ kind: 'none' })),
  ),
  query: fc.option(
    fc.array(parameter, { minLength: 1, maxLength: 2 }).map((parameters) => parameters.join('&')),
    { nil: undefined },
  ),
  headers: fc.record(
    {
      'Idempotency-Key': rarely(headerText),
      Prefer: rarely(fc.oneof(fc.constantFrom('wait=1', 'wait=0', 'wait=-1', 'wait=1, wait=2'), headerText)),
      'X-Correlation-Id': rarely(headerText),
      traceparent: rarely(headerText),
      'Content-Type': rarely(
        fc.oneof(fc.constantFrom('text/plain', 'application/json; charset=x', 'a+json'), headerText),
      ),
      'Content-Encoding': rarely(fc.constantFrom('gzip', 'br', 'identity', 'nonsense')),
      Accept: rarely(headerText),
    },
    { requiredKeys: [] },
  ),
});
type Fuzzed = typeof fuzzed extends fc.Arbitrary<infer T> ? T : never;

/** A response, and the request that it answers. */
interface Reply {
  readonly method: string;
  readonly path: string;
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: { id?: unknown; correlationId?: unknown } | undefined;
}

describe.each(DATABASES)('Random requests on $kind', ({ fresh }) => {
  let cabs: Cabs;
  let port: number;
  let pool: Pool;

  beforeAll(async () => {
    // MESH_RECEIVE adds the routes of the queries. Transits are reconciled as soon as they end.
    cabs = await startCabs(await fresh(), {
      MESH_RECEIVE: 'true',
      MESH_RECONCILE_AFTER: 'PT0S',
      MESH_RECONCILE_EVERY: 'PT0S',
    });
    await cabs.app.listen(0, '127.0.0.1');
    ({ port } = cabs.app.getHttpServer().address() as AddressInfo);
    const [clientId, driverId] = [await newClient(cabs), await newDriver(cabs)];
    await post(cabs, `/clients/${clientId}/awards`, {}, 201);
    const states = ['WAITING_FOR_DRIVER_ASSIGNMENT', 'TRANSIT_TO_PASSENGER', 'IN_TRANSIT', 'COMPLETED'] as const;
    const transits = await Promise.all(states.map((status) => transitIn(cabs, status)));
    const draft = await newRide(cabs, clientId);
    const noLicence = { firstName: 'A', lastName: 'B', driverLicense: '' };
    const { id: unlicensed } = await post<Driver>(cabs, '/drivers', noLicence, 201);
    const drivers = [driverId, unlicensed, ...transits.map((transit) => transit.driverId)];
    pool = { clients: [clientId], drivers, transits: [draft.id, draft.to.id, ...transits.map(({ id }) => id)] };
    await waitUntilIdle(cabs);
  });
  afterAll(() => cabs.close());

  it('are never answered 5xx, and change nothing when they are refused', async () => {
    let before = await contents(cabs);
    const counts = { accepted: 0, refused: 0 };
    const property = fc.asyncProperty(fuzzed, async (request) => {
      const reply = await exchange(port, request, pool);
      expect(reply.status).toBeLessThan(500);
      if (reply.status < 400) {
        counts.accepted++;
        const { id } = reply.body ?? {};
        if (reply.status === 201 && request.route.of && id) pool[request.route.of].push(id);
        await reconciled(cabs);
        await waitUntilIdle(cabs);
        before = await contents(cabs);
        return;
      }
      counts.refused++;
      expect(reply.headers['content-type']).toMatch(/^application\/problem\+json/);
      // A delivery of an event has no request context, so its problem has no correlation id.
      const isDelivery = reply.method === 'POST' && /^\/(mesh\/[^/]+\/?)?$/.test(reply.path);
      const context = isDelivery ? {} : { correlationId: expect.any(String) as unknown };
      expect(reply.body).toMatchObject({ status: reply.status, ...context });
      expect(reply.body?.correlationId).toBe(reply.headers['x-correlation-id']);
      expect(await contents(cabs)).toEqual(before);
    });
    // Without shrinking, because the state that led to the failure is gone.
    await fc.assert(property, { numRuns: RUNS, endOnFailure: true });
    // Both outcomes must be frequent, or the test proves little.
    expect(Math.min(counts.accepted, counts.refused)).toBeGreaterThan(RUNS / 20);
  }, 600_000);
});

itThorough(
  'Random requests leak no memory in a real process',
  async () => {
    const server = await startServer({
      DATABASE_URL: await DATABASES[0]!.fresh(),
      LOG_LEVEL: 'error',
      NODE_OPTIONS: '--inspect-port=0',
    });
    const memory = await memoryOf(server);
    const create = async (path: string, body: object) =>
      (await call<{ id: unknown }>('POST', `${server.url}${path}`, body)).body.id;
    const pool: Pool = {
      clients: [await create('/clients', { name: 'Jane', lastName: 'Roe' })],
      drivers: [await create('/drivers', { firstName: 'A', lastName: 'B', driverLicense: 'FARME100165AB5EW' })],
      transits: await prepareRides(server.url, 5),
    };
    const port = Number(new URL(server.url).port);
    const round = async (seed: number) => {
      const requests = fc.sample(fuzzed, { numRuns: ROUND, seed });
      const statuses = await runConcurrently(
        16,
        ROUND,
        async (index) => (await exchange(port, requests[index]!, pool)).status,
      );
      expect(statuses.filter((status) => status >= 500)).toEqual([]);
      return memory.held();
    };
    // The first round loads and compiles everything.
    const [, after, atEnd] = [await round(1), await round(2), await round(3)];
    console.log(JSON.stringify({ after, atEnd }));
    // A leak of 250 bytes per request would fail here.
    expect(atEnd.heapUsed + atEnd.external).toBeLessThan(after.heapUsed + after.external + 250 * ROUND);
    memory.close();
    await server.end('SIGTERM');
  },
  300_000,
);

/** Waits for the reconciliation run in flight: a request starts it, and it continues after the response. */
async function reconciled(cabs: Cabs): Promise<void> {
  await eventually(
    () => get<{ items: { isRunning: boolean }[] }>(cabs, '/mesh/reconciliations'),
    ({ items }) => items.every(({ isRunning }) => !isRunning),
  );
}

/** All rows of all tables, except for the heartbeats of the process. */
async function contents({ app }: Cabs): Promise<Record<string, string[]>> {
  const { read, dialect } = app.get(Database);
  const tables = await read.all<{ name: string }>(
    dialect === 'sqlite'
      ? `SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'`
      : `SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'mesh_replica'`,
  );
  const found: Record<string, string[]> = {};
  for (const { name } of tables) {
    found[name] = (await read.all(`SELECT * FROM ${name}`)).map((row) => JSON.stringify(row)).sort();
  }
  return found;
}

/** Sends a request unchanged: supertest would normalise its path and headers. */
async function exchange(port: number, fuzz: Fuzzed, pool: Pool) {
  const { route, dice, query, id } = fuzz;
  const pick = (kind: Kind) => pool[kind][dice % pool[kind].length];
  const path = route.path.replace(':id', () => id ?? String(route.of && pick(route.of)));
  const body = bodyOf(fuzz.body, route.body?.(pick));
  const defaults = { 'Content-Type': 'application/json', 'Content-Length': body && String(body.length) };
  const headers = { ...given(defaults), ...given(fuzz.headers) };
  const method = fuzz.method ?? route.method;
  const options = {
    host: '127.0.0.1',
    port,
    method,
    path: query ? `${path}${path.includes('?') ? '&' : '?'}${query}` : path,
    headers,
  };
  return new Promise<Reply>((resolve, reject) => {
    const sent = send(options, (reply) => {
      const chunks: Buffer[] = [];
      reply.on('data', (chunk: Buffer) => chunks.push(chunk));
      reply.on('end', () => {
        const isJson = /json/.test(reply.headers['content-type'] ?? '');
        const parsed = isJson ? (JSON.parse(Buffer.concat(chunks).toString()) as Reply['body']) : undefined;
        resolve({ method, path: path.split('?')[0]!, status: reply.statusCode!, headers: reply.headers, body: parsed });
      });
    });
    sent.setTimeout(60_000, () => sent.destroy(new Error('No response within 60 s')));
    sent.on('error', reject).end(body);
  });
}

function bodyOf(body: Body, valid: object | undefined): Buffer | undefined {
  if (body.kind === 'raw') return body.raw;
  if (body.kind === 'json') return Buffer.from(JSON.stringify(body.json));
  if (body.kind === 'none' || !valid) return undefined;
  return Buffer.from(JSON.stringify(body.kind === 'twisted' ? twist(valid, body) : valid));
}

/** The headers that have a value. */
function given(headers: Record<string, string | undefined>): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).filter((it): it is [string, string] => it[1] !== undefined));
}

function twist(valid: object, { where: [first = 0, ...rest], json, kind }: Twisted): object {
  const keys = Object.keys(valid);
  const key = keys[first % keys.length];
  if (key === undefined) return { driverId: json };
  const inner = (valid as Record<string, unknown>)[key];
  const goesDeeper = typeof inner === 'object' && inner !== null && rest.length > 0;
  return { ...valid, [key]: goesDeeper ? twist(inner, { where: rest, json, kind }) : json };
}
