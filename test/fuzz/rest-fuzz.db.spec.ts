import { request as send, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import fc from 'fast-check';
import { PICKUP, PLANNED, REACHED } from '../../src/demo.js';
import { toWire } from '../../src/infrastructure/cloudevents/mapping.js';
import { Database } from '../../src/infrastructure/persistence/database.js';
import { eventually, startCabs, type Cabs } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';
import { atRest, get, newClient, newDriver, newRide, post, rideThatIs, type Driver } from '../support/rest.js';
import { atOnce, call, memoryOf, prepareRides, startServer } from '../support/server.js';

/** Per database. More when looking for trouble: FUZZ_RUNS=5000 */
const RUNS = Number(process.env.FUZZ_RUNS ?? 600);

/** Requests of a round, where memory is watched. */
const STEADY = 4000;

/** What there is: the fuzz picks from it, and what it makes is added. */
interface Pool {
  readonly clients: unknown[];
  readonly drivers: unknown[];
  readonly rides: unknown[];
}
type Kind = keyof Pool;

interface Route {
  readonly method: string;
  readonly path: string;
  /** What the id in the path is of; also what the reply is of. */
  readonly of?: Kind;
  /** A body that may be accepted. */
  readonly body?: (pick: (kind: Kind) => unknown) => object;
}

const byDriver: Route['body'] = (pick) => ({ driverId: pick('drivers') });

/** What modules ask each other. */
const QUERIES: Record<string, NonNullable<Route['body']>> = {
  'read-client': (pick) => ({ 'client-id': pick('clients') }),
  'read-awards': (pick) => ({ 'client-id': pick('clients') }),
  'read-driver': (pick) => ({ 'driver-id': pick('drivers') }),
  'read-settled-transits': (pick) => ({
    transits: [{ 'transit-id': pick('rides'), 'driver-id': pick('drivers') }],
  }),
  'measure-route': () => ({ from: toWire(PICKUP), to: toWire(PLANNED) }),
  'read-address': (pick) => ({ 'address-id': pick('rides') }),
  'read-invoices': (pick) => ({ 'transit-id': pick('rides') }),
  'read-invoiced-transits': (pick) => ({ 'transit-ids': [pick('rides')] }),
  'read-transit-miles': (pick) => ({ 'transit-ids': [pick('rides')] }),
  'read-transit': (pick) => ({ 'transit-id': pick('rides') }),
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
    of: 'rides',
    body: (pick) => ({ clientId: pick('clients'), from: PICKUP, to: PLANNED, carClass: 'ECO' }),
  },
  { method: 'GET', path: '/transits' },
  { method: 'GET', path: '/transits/:id', of: 'rides' },
  { method: 'POST', path: '/transits/:id/publish', of: 'rides' },
  { method: 'POST', path: '/transits/:id/accept', of: 'rides', body: byDriver },
  { method: 'POST', path: '/transits/:id/reject', of: 'rides', body: byDriver },
  { method: 'POST', path: '/transits/:id/start', of: 'rides', body: () => ({}) },
  { method: 'POST', path: '/transits/:id/cancel', of: 'rides' },
  { method: 'POST', path: '/transits/:id/destination', of: 'rides', body: () => REACHED },
  { method: 'POST', path: '/transits/:id/complete', of: 'rides', body: () => REACHED },
  { method: 'GET', path: '/addresses/:id', of: 'rides' },
  { method: 'GET', path: '/invoices?transitId=:id', of: 'rides' },
  { method: 'GET', path: '/mesh/outbox' },
  { method: 'GET', path: '/mesh/dead-letters' },
  { method: 'GET', path: '/mesh/dead-letters/:id', of: 'rides' },
  { method: 'DELETE', path: '/mesh/dead-letters/:id', of: 'rides' },
  { method: 'POST', path: '/mesh/dead-letters/replay' },
  { method: 'POST', path: '/mesh/dead-letters/:id/replay', of: 'rides' },
  { method: 'GET', path: '/mesh/reconciliations' },
  { method: 'POST', path: '/mesh/reconciliations/run' },
  { method: 'POST', path: '/mesh/reconciliations/run?dry-run=true' },
  { method: 'POST', path: '/mesh/queries/:id', of: 'rides' },
  ...Object.entries(QUERIES).map(([query, body]) => ({ method: 'POST', path: `/mesh/queries/${query}`, body })),
  { method: 'GET', path: '/health/live' },
  { method: 'GET', path: '/health/ready' },
];

/** Rides are cancelled as soon as anything can be; without a push few would get further. */
const ONWARD = ROUTES.filter(({ path }) => /publish|accept|start|complete/.test(path));

/* Oddities are rare, or every request would be refused at the door for the first of them. */
const often = <T>(arbitrary: fc.Arbitrary<T>) => ({ arbitrary, weight: 12 });
const now = <T>(arbitrary: fc.Arbitrary<T>) => ({ arbitrary, weight: 1 });
const rarely = <T>(arbitrary: fc.Arbitrary<T>) => fc.oneof(often(fc.constant(undefined)), now(arbitrary));

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
/** A valid body with one value changed, or left out. */
interface Twisted {
  readonly kind: 'twisted';
  readonly where: number[];
  readonly json: unknown;
}

const fuzzed = fc.record({
  route: fc.noBias(fc.constantFrom(...ROUTES, ...ONWARD, ...ONWARD)),
  method: rarely(fc.constantFrom('PATCH', 'PUT', 'DELETE', 'POST', 'GET', 'OPTIONS')),
  id: fc.oneof(often(fc.constant(undefined)), now(segment)),
  /** Which of the pool. */
  dice: fc.noBias(fc.nat()),
  body: fc.oneof<fc.MaybeWeightedArbitrary<Body>[]>(
    often(fc.constant({ kind: 'valid' })),
    often(fc.record({ kind: fc.constant('twisted'), where: fc.array(fc.nat(), { minLength: 1 }), json: value })),
    now(fc.record({ kind: fc.constant('json'), json: value })),
    now(fc.uint8Array({ maxLength: 50 }).map((bytes) => ({ kind: 'raw', raw: Buffer.from(bytes) }))),
    now(fc.constant({ kind: 'none' })),
  ),
  query: fc.option(
    fc.array(parameter, { minLength: 1, maxLength: 2 }).map((them) => them.join('&')),
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

/** What was answered, and to what. */
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
    // Queries are answered where a broker may deliver; reconciled is what has ended just now.
    cabs = await startCabs(await fresh(), { MESH_RECEIVE: 'true', MESH_RECONCILE_AFTER: 'PT0S' });
    await cabs.app.listen(0, '127.0.0.1');
    ({ port } = cabs.app.getHttpServer().address() as AddressInfo);
    const [clientId, driverId] = [await newClient(cabs), await newDriver(cabs)];
    await post(cabs, `/clients/${clientId}/awards`, {}, 201);
    const states = ['WAITING_FOR_DRIVER_ASSIGNMENT', 'TRANSIT_TO_PASSENGER', 'IN_TRANSIT', 'COMPLETED'] as const;
    const rides = await Promise.all(states.map((status) => rideThatIs(cabs, status)));
    const draft = await newRide(cabs, clientId);
    const noLicence = { firstName: 'A', lastName: 'B', driverLicense: '' };
    const { id: unlicensed } = await post<Driver>(cabs, '/drivers', noLicence, 201);
    const drivers = [driverId, unlicensed, ...rides.map((ride) => ride.driverId)];
    pool = { clients: [clientId], drivers, rides: [draft.id, draft.to.id, ...rides.map(({ id }) => id)] };
    await atRest(cabs);
  });
  afterAll(() => cabs.close());

  it('are never the fault of the server, and change nothing when they are refused', async () => {
    let before = await contents(cabs);
    const counted = { accepted: 0, refused: 0 };
    const property = fc.asyncProperty(fuzzed, async (request) => {
      const reply = await exchange(port, request, pool);
      expect(reply.status).toBeLessThan(500);
      if (reply.status < 400) {
        counted.accepted++;
        const { id } = reply.body ?? {};
        if (reply.status === 201 && request.route.of && id) pool[request.route.of].push(id);
        await reconciled(cabs);
        await atRest(cabs);
        before = await contents(cabs);
        return;
      }
      counted.refused++;
      expect(reply.headers['content-type']).toMatch(/^application\/problem\+json/);
      // Who delivers events has them in no journey of ours.
      const isDelivery = reply.method === 'POST' && /^\/(mesh\/[^/]+\/?)?$/.test(reply.path);
      const journey = isDelivery ? {} : { correlationId: expect.any(String) as unknown };
      expect(reply.body).toMatchObject({ status: reply.status, ...journey });
      expect(reply.body?.correlationId).toBe(reply.headers['x-correlation-id']);
      expect(await contents(cabs)).toEqual(before);
    });
    // Not shrunk: the state that led to the failure is gone by then.
    await fc.assert(property, { numRuns: RUNS, endOnFailure: true });
    // Both must have been tried often enough to say something.
    expect(Math.min(counted.accepted, counted.refused)).toBeGreaterThan(RUNS / 20);
  }, 600_000);
});

it('Random requests leave nothing behind in the memory of a real process', async () => {
  const server = await startServer({
    DATABASE_URL: await DATABASES[0]!.fresh(),
    LOG_LEVEL: 'error',
    NODE_OPTIONS: '--inspect-port=0',
  });
  const memory = await memoryOf(server);
  const made = async (path: string, body: object) =>
    (await call<{ id: unknown }>('POST', `${server.url}${path}`, body)).body.id;
  const pool: Pool = {
    clients: [await made('/clients', { name: 'Jane', lastName: 'Roe' })],
    drivers: [await made('/drivers', { firstName: 'A', lastName: 'B', driverLicense: 'FARME100165AB5EW' })],
    rides: await prepareRides(server.url, 5),
  };
  const port = Number(new URL(server.url).port);
  const round = async (seed: number) => {
    const requests = fc.sample(fuzzed, { numRuns: STEADY, seed });
    const statuses = await atOnce(16, STEADY, async (index) => (await exchange(port, requests[index]!, pool)).status);
    expect(statuses.filter((status) => status >= 500)).toEqual([]);
    return memory.held();
  };
  // With the first everything is loaded and compiled.
  const [, after, atEnd] = [await round(1), await round(2), await round(3)];
  console.log(JSON.stringify({ after, atEnd }));
  // A leak of 250 bytes a request would show.
  expect(atEnd.heapUsed + atEnd.external).toBeLessThan(after.heapUsed + after.external + 250 * STEADY);
  memory.close();
  await server.end('SIGTERM');
}, 120_000);

/** Waits for the pass under way: it is begun by a request, and goes on behind its answer. */
async function reconciled(cabs: Cabs): Promise<void> {
  await eventually(
    () => get<{ items: { isRunning: boolean }[] }>(cabs, '/mesh/reconciliations'),
    ({ items }) => items.every(({ isRunning }) => !isRunning),
  );
}

/** Every row of every table, in no order; but for the signs of life of the process itself. */
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

/** A request as it stands: supertest would straighten its path and headers. */
async function exchange(port: number, fuzz: Fuzzed, pool: Pool) {
  const { route, dice, query, id } = fuzz;
  const pick = (kind: Kind) => pool[kind][dice % pool[kind].length];
  const path = route.path.replace(':id', () => id ?? String(route.of && pick(route.of)));
  const body = bodyOf(fuzz.body, route.body?.(pick));
  const ours = { 'Content-Type': 'application/json', 'Content-Length': body && String(body.length) };
  const headers = { ...given(ours), ...given(fuzz.headers) };
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
    sent.setTimeout(20_000, () => sent.destroy(new Error('No reply')));
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
