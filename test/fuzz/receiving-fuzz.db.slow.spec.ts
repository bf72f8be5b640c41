import { randomBytes } from 'node:crypto';
import type { AddressInfo } from 'node:net';
import fc from 'fast-check';
import { request } from 'undici';
import { MODULES } from '../../src/app.module.js';
import { PICKUP, PLANNED, REACHED } from '../../src/demo.js';
import { toWire } from '../../src/infrastructure/cloudevents/mapping.js';
import type { DeadLetter } from '../../src/infrastructure/dead-letters/dead-letter.js';
import { messagesIn, meshFeatureOf } from '../../src/infrastructure/contracts/mesh-feature.js';
import { permittedSenders } from '../../src/infrastructure/contracts/message.js';
import { HandlerRegistry } from '../../src/infrastructure/contracts/handler-registry.js';
import { UnitOfWork } from '../../src/infrastructure/persistence/unit-of-work.js';
import type { OutboxStatistics } from '../../src/infrastructure/store/statistics.js';
import { Transit } from '../../src/modules/rides/tables.js';
import { eventually, startCabs, type Cabs } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';
import { numbers } from '../support/notes.js';
import { waitUntilIdle, get, newClient, newDriver, post, transitIn } from '../support/rest.js';

/*
 * No handler exists for the events of receiving-fuzz.slow.spec.ts. These events have handlers, and are valid except for one or
 * two values that the contract or the database may refuse.
 */

/** Runs per database. Set FUZZ_RUNS=20000 for a longer search. */
const RUNS = Number(process.env.FUZZ_RUNS ?? 500);
/** The 4xx that brokers retry. */
const RETRIED = [404, 408, 409, 425, 429];
/** Longest header section, in characters: Node reads 16 kB. */
const MAX_HEADERS = 12_000;

/** The ids that events refer to. */
interface Pool {
  readonly clients: readonly number[];
  readonly drivers: readonly number[];
  /** Of transits in every state that an event may meet, and of some that don't exist. */
  readonly transits: readonly string[];
  /** Where the transits ended. */
  readonly address: string;
}

/** Valid data of each type that has a handler here. */
const DATA: Record<string, (pool: Pool, dice: number) => object> = {
  'cabs.rides.complete-transit': ({ transits }, dice) => ({ transitId: pick(transits, dice), destination: REACHED }),
  'cabs.geolocation.update-destination': () => ({
    from: { ...PICKUP, district: 'Wola', additionalNumber: 3, postalCode: '01-123', name: 'Muzeum' },
    destination: PLANNED,
  }),
  'cabs.geolocation.destination-updated': ({ address }) => ({ addressId: address, distanceMetres: 42_000 }),
  'cabs.drivers.calculate-fee': ({ drivers }, dice) => ({ driverId: pick(drivers, dice), transitPrice: 5100 }),
  'cabs.drivers.driver-fee': ({ drivers }, dice) => ({ driverId: pick(drivers, dice), fee: 4998 }),
  'cabs.drivers.driver-fee-refused': ({ drivers }, dice) => ({ driverId: pick(drivers, dice), reason: 'Who?' }),
  'cabs.drivers.driver-occupy': ({ drivers }, dice) => ({ driverId: pick(drivers, dice) }),
  'cabs.drivers.driver-occupied': ({ drivers }, dice) => ({ driverId: pick(drivers, dice) }),
  'cabs.drivers.driver-refused': ({ drivers }, dice) => ({ driverId: pick(drivers, dice), reason: 'Busy' }),
  'cabs.drivers.driver-free': ({ drivers }, dice) => ({ driverId: pick(drivers, dice) }),
  'cabs.drivers.driver-freed': ({ drivers }, dice) => ({ driverId: pick(drivers, dice) }),
  'cabs.loyalty.register-miles': ({ clients }, dice) => ({ clientId: pick(clients, dice) }),
  'cabs.loyalty.miles-registered': ({ clients }, dice) => ({ clientId: pick(clients, dice), miles: 10 }),
  'cabs.invoicing.issue-invoice': () => ({ amount: 5100, subjectName: 'Jane Roe' }),
  'cabs.invoicing.invoice-issued': () => ({ invoiceId: crypto.randomUUID(), amount: 5100 }),
};

/** A source that may send each type. */
const SOURCES = new Map(
  MODULES.map(meshFeatureOf).flatMap(({ name, contract }) =>
    messagesIn(contract).messages.map((it) => [it.type, `usvc://cabs/${permittedSenders(it, name)[0]}`]),
  ),
);

const pick = <T>(items: readonly T[], dice: number): T => items[dice % items.length]!;

/** Text that can't be compressed: an index row of PostgreSQL holds less than 2.7 kB of it. */
const incompressible = (bytes: number) => fc.constant(0).map(() => randomBytes(bytes).toString('base64'));
const odd: fc.Arbitrary<unknown> = fc.oneof(
  fc.constantFrom(
    'a\0b',
    '\0',
    '\ud800',
    'a\udfffb',
    '\uffff',
    '',
    ' ',
    '\n',
    '%00',
    "'; --",
    '__proto__',
    'null',
    '😀',
  ),
  fc.constantFrom('x'.repeat(300), 'ż'.repeat(500), 'ż'.repeat(501), '😀'.repeat(100), '1'.repeat(400)),
  fc.string({ unit: 'binary', maxLength: 20 }),
  fc.oneof(incompressible(700), incompressible(1500), incompressible(7500)),
  fc.constantFrom(
    0,
    -0,
    -1,
    0.5,
    1e3,
    2 ** 31 - 1,
    2 ** 31,
    -(2 ** 31),
    2 ** 32,
    2 ** 53 - 1,
    2 ** 53,
    1e21,
    1e308,
    5e-324,
  ),
  fc.constantFrom<unknown>(undefined, null, true, [], {}, [[]], { id: 1 }, Array(5000).fill(0)),
  fc.uuid().map((id) => id.toUpperCase()),
  fc.jsonValue({ maxDepth: 3 }),
);

const twists = fc.array(fc.record({ where: fc.noBias(fc.nat()), to: odd }), { maxLength: 2 });

/** Values that databases or the limits of contracts refuse. */
const WORST = () => ['a\0b', '\ud800', randomBytes(7500).toString('base64'), -1, 2 ** 53 - 1, 2 ** 31, null];

const fuzzed = fc.record({
  type: fc.noBias(fc.constantFrom(...Object.keys(DATA))),
  dice: fc.noBias(fc.nat()),
  mode: fc.constantFrom('binary', 'structured', 'batch'),
  atRoot: fc.boolean(),
  twists,
});
type Fuzzed = typeof fuzzed extends fc.Arbitrary<infer T> ? T : never;

describe.each(DATABASES)('Random events that may be handled, on $kind', ({ fresh }) => {
  let cabs: Cabs;
  let pool: Pool;

  beforeAll(async () => {
    // The messages that the handlers send are delivered to this process as well, which shows whether they are valid.
    cabs = await startCabs(await fresh(), { MESH_RECEIVE: 'true', MESH_RETRY: '2' });
    pool = await createPool(cabs);
    await cabs.app.listen(0, '127.0.0.1');
  });
  afterAll(() => cabs.close());

  it('are of all types that have a handler', () => {
    const registry = cabs.app.get(HandlerRegistry);
    const types = MODULES.flatMap((it) => messagesIn(meshFeatureOf(it).contract).messages).map(({ type }) => type);
    expect(Object.keys(DATA).sort()).toEqual(types.filter((it) => registry.subscriptions(it).length > 0).sort());
  });

  it('are answered neither 5xx nor a 4xx that brokers retry, and accepted events are handled', async () => {
    const registry = cabs.app.get(HandlerRegistry);
    const accepted: string[] = [];
    const counts = { accepted: 0, refused: 0 };
    const send = async (type: string, event: Record<string, unknown>, mode: Fuzzed['mode'], atRoot: boolean) => {
      const { consumer } = registry.subscriptions(type)[0]!;
      const { status, text } = await exchange(cabs, atRoot ? '/' : `/mesh/${consumer}`, event, mode);
      expect({ status, text, isFine: isFine(status) }).toMatchObject({ isFine: true });
      expect(text.length).toBeLessThan(512);
      counts[status < 300 ? 'accepted' : 'refused']++;
      // Only ids that are strings can be found again: headers turn other values into strings.
      const isNamed = event.source === SOURCES.get(type) && /^[0-9a-f-]{36}$/.test(String(event.id));
      if (status < 300 && isNamed) accepted.push(String(event.id));
    };
    // First, each value of each type is replaced by each of the worst values. Then come random values.
    for (const [index, type] of Object.keys(DATA).entries()) {
      // A COMPLETING transit, another one for each type.
      const plain = { type, dice: 2 + 2 * index, twists: [] };
      for (const where of handledSlots(eventOf(plain, pool)).keys()) {
        for (const to of WORST()) {
          const event = eventOf(plain, pool);
          put(handledSlots(event)[where]!, to);
          await send(type, event, 'structured', false);
        }
      }
    }
    const property = fc.asyncProperty(fuzzed, ({ mode, atRoot, ...fuzz }) =>
      send(fuzz.type, eventOf(fuzz, pool), mode, atRoot),
    );
    // Without shrinking, because the state that led to the failure is gone.
    await fc.assert(property, { numRuns: RUNS, endOnFailure: true });
    // Both outcomes must be frequent, or the test proves little.
    expect(Math.min(counts.accepted, counts.refused)).toBeGreaterThan(RUNS / 10);

    // Neither the events nor the messages of their handlers are stuck. Events of unknown types wait for another release.
    const { sql } = cabs.app.get(UnitOfWork);
    const waiting = () =>
      sql.all<{ id: string; consumer: string; type: string }>(
        `SELECT id, consumer, type FROM mesh_delivery WHERE due_at > ${Date.now() + 3_600_000}`,
      );
    await eventually(
      async () => (await get<OutboxStatistics>(cabs, '/mesh/outbox')).pending - (await waiting()).length,
      (pending) => pending === 0,
    );
    const unknown = await waiting();
    expect(unknown.filter(({ consumer, type }) => registry.subscription(consumer, type))).toEqual([]);
    expect(unknown.length).toBeGreaterThan(0);
    const rows = await sql.all<{ id: string }>('SELECT id FROM mesh_inbox');
    const kept = new Set([...rows, ...unknown].map(({ id }) => id));
    expect(accepted.filter((id) => !kept.has(id))).toEqual([]);
    // Transits that don't exist are expected. Other causes would be messages of ours that break our own contract.
    const { causes } = await get<{ causes: { cause: string }[] }>(cabs, '/mesh/dead-letters?by=cause');
    expect(causes.filter(({ cause }) => !cause.startsWith('Reject: There is no transit'))).toEqual([]);

    await cabs.http.get('/health/ready').expect(200);
    for (const type of Object.keys(DATA)) {
      const event = eventOf({ type, dice: 0, twists: [] }, pool);
      expect(await exchange(cabs, '/', event, 'structured')).toEqual({ status: 204, text: '' });
    }
  }, 600_000);
});

describe.each(DATABASES)('Random dead letters on $kind', ({ fresh }) => {
  it('are stored or refused with a status that brokers do not retry, and can be listed', async () => {
    const services = { USVC_DRIVERS: 'http://127.0.0.1:9', USVC_RIDES: 'http://127.0.0.1:9' };
    const sink = await startCabs(await fresh(), { MESH_TRANSPORT: 'knative', MODULES: 'none', ...services });
    const pool = { clients: [1], drivers: [1], transits: [crypto.randomUUID()], address: crypto.randomUUID() };
    await sink.app.listen(0, '127.0.0.1');
    let kept = 0;
    const errorAttributes = fc.record({
      knativeerrordest: fc.oneof(fc.constantFrom('http://127.0.0.1:9/mesh/drivers', 'http://a/\u0000', 'x:'), odd),
      knativeerrorcode: fc.oneof(fc.constant('422'), odd),
      knativeerrordata: fc
        .oneof(fc.constant('{"detail":"a\\u0000b"}'), odd)
        .map((it) => (typeof it === 'string' ? Buffer.from(it).toString('base64') : it)),
    });
    const property = fc.asyncProperty(fuzzed, errorAttributes, async (fuzz, more) => {
      const event = { ...eventOf(fuzz, pool), ...more };
      const { status, text } = await exchange(sink, '/mesh/dead-letters', event, fuzz.mode);
      expect({ status, text, isFine: isFine(status) }).toMatchObject({ isFine: true });
      if (status < 300) kept++;
    });
    await fc.assert(property, { numRuns: Math.ceil(RUNS / 4), endOnFailure: true });
    expect(kept).toBeGreaterThan(RUNS / 40);
    const { items, total } = await get<{ items: DeadLetter[]; total: number }>(sink, '/mesh/dead-letters?size=100');
    expect(items).toHaveLength(Math.min(total, 100));
    await sink.close();
  }, 600_000);
});

/** Creates clients, drivers, and transits that wait for the events. */
async function createPool(cabs: Cabs): Promise<Pool> {
  const clients = [await newClient(cabs), await newClient(cabs), 404];
  await post(cabs, `/clients/${clients[0]}/awards`, {}, 201);
  await post(cabs, `/clients/${clients[0]}/awards/activate`);
  const { id, driverId } = await transitIn(cabs, 'COMPLETED');
  const drivers = [driverId, await newDriver(cabs), 404];
  await waitUntilIdle(cabs);
  const work = cabs.app.get(UnitOfWork);
  const transit = await work.repository(Transit).findOneByOrFail({ id });
  // A transit leaves these states with the next answer.
  const pending = { driverFeeSettled: 'pending', driverFreedSettled: 'pending', milesSettled: 'pending' } as const;
  const waiting = numbers(60).map((n) => ({
    ...transit,
    ...pending,
    id: crypto.randomUUID(),
    price: null,
    driverFee: null,
    miles: null,
    completedAt: null,
    invoiceSettled: 'pending' as const,
    status: n % 2 ? ('COMPLETING' as const) : ('ACCEPTING' as const),
  }));
  await work.run(() => work.repository(Transit).insert(waiting));
  const transits = [id, ...waiting.map((it) => it.id), ...numbers(10).map(() => crypto.randomUUID())];
  return { clients, drivers, transits, address: transit.reachedId! };
}

/** An event with its twists. */
function eventOf({ type, dice, twists }: Pick<Fuzzed, 'type' | 'dice' | 'twists'>, pool: Pool) {
  const event: Record<string, unknown> = {
    specversion: '1.0',
    id: crypto.randomUUID(),
    source: SOURCES.get(type),
    type,
    subject: pick(pool.transits, dice),
    time: '2026-11-24T01:02:03Z',
    correlationid: 'c',
    causationid: 'd',
    partitionkey: 'k',
    traceparent: 't',
    datacontenttype: 'application/json',
    dataschema: 'urn:x:y',
    ext: 'e',
    data: structuredClone(toWire(DATA[type]!(pool, dice))),
  };
  for (const { where, to } of twists) put(pick([...slotsOf(event), ...handledSlots(event)], where), to);
  return event;
}

/** A property that holds a value. */
interface Slot {
  readonly of: Record<string, unknown>;
  readonly name: string;
}

const slotsOf = (of: object): Slot[] => Object.keys(of).map((name) => ({ of: of as Record<string, unknown>, name }));

/** The parts of an event that a handler gets: the subject, and every value of the data. */
function handledSlots(event: Record<string, unknown>): Slot[] {
  const inside = (value: unknown): Slot[] =>
    typeof value === 'object' && value !== null
      ? [...slotsOf(value), ...Object.values(value).flatMap((inner) => inside(inner))]
      : [];
  return [{ of: event, name: 'subject' }, ...inside(event.data)];
}

function put({ of, name }: Slot, value: unknown): void {
  // A copy, because the next twist may change a part of it.
  of[name] = structuredClone(value);
}

const isFine = (status: number) =>
  (status >= 200 && status < 300) || (status >= 400 && status < 500 && !RETRIED.includes(status));

async function exchange({ app }: Cabs, path: string, event: Record<string, unknown>, mode: Fuzzed['mode']) {
  const { port } = app.getHttpServer().address() as AddressInfo;
  const { headers, body } = written(event, mode);
  const reply = await request(`http://127.0.0.1:${port}${path}`, { method: 'POST', headers, body });
  return { status: reply.statusCode, text: await reply.body.text() };
}

/** Writes an event as it is, also an invalid one, which `HTTP.binary` would refuse. */
function written(
  event: Record<string, unknown>,
  mode: Fuzzed['mode'],
): { headers: Record<string, string>; body: string } {
  const { data, datacontenttype, ...attributes } = event;
  const headers: Record<string, string> = { 'content-type': encoded(datacontenttype) };
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null) headers[`ce-${name}`] = encoded(value);
  }
  if (mode === 'binary' && JSON.stringify(headers).length < MAX_HEADERS)
    return { headers, body: JSON.stringify(data) ?? '' };
  const content = (of: string) => ({ 'content-type': `application/cloudevents${of}+json` });
  if (mode !== 'batch') return { headers: content(''), body: JSON.stringify(event) };
  return { headers: content('-batch'), body: JSON.stringify([event, { ...event, id: crypto.randomUUID() }]) };
}

/** The value of a header. Lone surrogates have no encoding. */
function encoded(value: unknown): string {
  const text = Buffer.from(typeof value === 'string' ? value : (JSON.stringify(value) ?? '')).toString();
  return text.replace(/[^\x21\x23\x24\x26-\x7e]+/g, encodeURIComponent);
}
