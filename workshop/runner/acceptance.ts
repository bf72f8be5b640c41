import { setTimeout as wait } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { request } from 'undici';
import { PLANNED, REACHED } from '../../src/demo.js';
import { ACCEPTANCE, DEMO, type UnderWay } from './fixtures.js';

/*
 * What completing a ride has to do, seen from outside; the same for every step. A step may answer 200 and have settled
 * all of it, or 202 and settle it later.
 */

/** Longest time to settle, in ms; shorter once a ride has taken too long. */
const SETTLE_MS = 10_000;
const IMPATIENT_MS = 2000;
/** Longest time for an answer, in ms. */
const ANSWER_MS = 15_000;
/** So long after all is settled nothing more may happen, in ms. */
const QUIET_MS = 300;

interface Reply {
  readonly status: number;
  readonly body: Record<string, unknown>;
}

/** A test of the acceptance suite: throws an Error of one sentence when it isn't so. */
export interface Acceptance {
  readonly name: string;
  readonly run: (url: string) => Promise<void>;
}

/** What a ride has to leave behind. Cents. */
interface Expected {
  readonly price: number;
  readonly driverFee: number;
  readonly miles: number | null;
}

export const ACCEPTANCE_TESTS: readonly Acceptance[] = [
  {
    name: "the demo's ride costs 51.00, of which the driver earns 48.56",
    run: (url) => settles(url, DEMO, { price: 5100, driverFee: 4856, miles: 10 }),
  },
  {
    name: 'a ride on a Saturday night has its tariff, and a driver without an agreement earns 98 %',
    run: (url) => settles(url, ACCEPTANCE.weekend, { price: 11_500, driverFee: 11_270, miles: 10 }),
  },
  {
    name: 'a ride that ends where it was to end, with a flat fee',
    run: (url) => settles(url, ACCEPTANCE.planned, { price: 5100, driverFee: 4400, miles: 10 }, PLANNED),
  },
  {
    name: 'a client who collects no miles gets none, and that is no error',
    run: (url) => settles(url, ACCEPTANCE.withoutAccount, { price: 5100, driverFee: 4856, miles: null }),
  },
  {
    name: 'a client whose account is inactive gets none either',
    run: (url) => settles(url, ACCEPTANCE.inactiveAccount, { price: 5100, driverFee: 4856, miles: 0 }),
  },
  {
    name: 'a ride is completed once: asking again is harmless or refused, and doubles nothing',
    run: async (url) => {
      const expected = { price: 5100, driverFee: 4856, miles: 10 };
      await settles(url, ACCEPTANCE.repeated, expected);
      const { status } = await complete(url, ACCEPTANCE.repeated.id);
      if (![200, 202, 409].includes(status)) throw new Error(`Completing it again was answered ${status}`);
      await wait(QUIET_MS);
      assertTraces('After a second request', await traces(url, ACCEPTANCE.repeated), wanted(expected, REACHED));
    },
  },
  {
    name: 'a ride that has not begun, or that there is not, can not be completed',
    run: async (url) => {
      const { id } = ACCEPTANCE.notStarted;
      assertRefused(await complete(url, id), 409, 'Completing a ride that has not begun');
      const ride = await get(url, `/transits/${id}`);
      assertEqual('Its status', ride.body.status, 'TRANSIT_TO_PASSENGER');
      const unknown = '00000000-dead-4000-8000-000000000000';
      assertRefused(await complete(url, unknown), 404, 'Completing a ride that there is not');
    },
  },
  {
    name: 'an address without a street is refused by a problem document that names the field',
    run: async (url) => {
      const { street: _, ...incomplete } = REACHED;
      const reply = await complete(url, ACCEPTANCE.notStarted.id, incomplete);
      assertRefused(reply, 400, 'An address without a street');
      const errors = (reply.body.errors ?? []) as { field: string }[];
      if (!errors.some(({ field }) => field === 'street')) throw new Error('The problem document names no street');
    },
  },
];

/** Runs all of them. @returns what isn't so, by the names of the tests */
export async function acceptance(url: string): Promise<Map<string, string>> {
  const failures = new Map<string, string>();
  patienceMs = SETTLE_MS;
  for (const { name, run } of ACCEPTANCE_TESTS) {
    const failure = await run(url).catch((error: Error) => error);
    if (failure) failures.set(name, failure.message);
    // Whoever loops answers none of the others either.
    if (failure instanceof Silent) break;
  }
  return failures;
}

let patienceMs = SETTLE_MS;

async function settles(url: string, ride: UnderWay, expected: Expected, reached: object = REACHED): Promise<void> {
  const { status } = await complete(url, ride.id, reached);
  if (status !== 200 && status !== 202) throw new Error(`Completing it was answered ${status}`);
  const target = wanted(expected, reached);
  const deadline = Date.now() + (status === 200 ? 0 : patienceMs);
  let seen = await traces(url, ride);
  for (; !isDeepStrictEqual(seen, target) && Date.now() < deadline; seen = await traces(url, ride)) await wait(20);
  const after = status === 200 ? 'When it was answered' : `After ${patienceMs / 1000} s`;
  if (!isDeepStrictEqual(seen, target)) patienceMs = IMPATIENT_MS;
  assertTraces(after, seen, target);
  if (status === 202) await wait(QUIET_MS);
  assertTraces('A moment later', await traces(url, ride), target);
}

function wanted({ price, driverFee, miles }: Expected, reached: object): Traces {
  const { street, buildingNumber } = reached as typeof REACHED;
  return {
    ...{ status: 'COMPLETED', price, driverFee, to: `${street} ${buildingNumber}`, driverIsFree: true },
    ...{ invoices: [price], miles, pending: [] },
  };
}

/** There was no answer in time. */
class Silent extends Error {}

type Traces = Readonly<Record<string, unknown>>;

/** What can be seen of a ride that is over. */
async function traces(url: string, { id, driverId, clientId, clientName }: UnderWay): Promise<Traces> {
  const ride = (await get(url, `/transits/${id}`)).body;
  const driver = (await get(url, `/drivers/${driverId}`)).body;
  const awards = await get(url, `/clients/${clientId}/awards`);
  const invoices = (await get(url, `/invoices?transitId=${id}`)).body as unknown as Record<string, unknown>[];
  const to = ride.to as { street: string; buildingNumber: number };
  return {
    ...{ status: ride.status, price: ride.price, driverFee: ride.driverFee, to: `${to.street} ${to.buildingNumber}` },
    driverIsFree: !driver.occupied,
    invoices: invoices.map(({ amount, subjectName }) => (subjectName === clientName ? amount : subjectName)),
    miles: awards.status === 404 ? null : awards.body.balance,
    // Where a ride tells how far it is settled.
    pending: Object.entries(ride.settlement ?? {}).flatMap(([what, state]) => (state === 'settled' ? [] : what)),
  };
}

function complete(url: string, id: string, reached: object = REACHED): Promise<Reply> {
  return send(`${url}/transits/${id}/complete`, 'POST', reached);
}

function get(url: string, path: string): Promise<Reply> {
  return send(url + path, 'GET');
}

async function send(url: string, method: 'GET' | 'POST', body?: object): Promise<Reply> {
  const headers = { 'content-type': 'application/json' };
  const options = { method, headers, headersTimeout: ANSWER_MS, bodyTimeout: ANSWER_MS };
  const reply = await request(url, { ...options, ...(body && { body: JSON.stringify(body) }) }).catch(
    (error: Error) => {
      if (error.name !== 'HeadersTimeoutError') throw error;
      throw new Silent(`It does not answer within ${ANSWER_MS / 1000} s: does something loop?`);
    },
  );
  const text = await reply.body.text();
  return { status: reply.statusCode, body: (text === '' ? {} : JSON.parse(text)) as Record<string, unknown> };
}

function assertRefused({ status, body }: Reply, expected: number, what: string): void {
  if (status !== expected) throw new Error(`${what} was answered ${status}, not ${expected}: ${JSON.stringify(body)}`);
  if (body.status !== expected) throw new Error(`${what} was refused without a problem document`);
}

/** @throws Error that names what differs */
function assertTraces(when: string, seen: Traces, target: Traces): void {
  const differs = Object.keys(target).filter((name) => !isDeepStrictEqual(seen[name], target[name]));
  const shown = differs.map((name) => `${name} is ${JSON.stringify(seen[name])}, not ${JSON.stringify(target[name])}`);
  if (shown.length > 0) throw new Error(`${when} ${shown.join(', ')}`);
}

function assertEqual(what: string, actual: unknown, expected: unknown): void {
  if (isDeepStrictEqual(actual, expected)) return;
  throw new Error(`${what} ${JSON.stringify(actual)}; expected ${JSON.stringify(expected)}`);
}
