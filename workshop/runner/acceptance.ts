import { setTimeout as wait } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { PLANNED, REACHED } from '../../src/demo.js';
import { ACCEPTANCE, DEMO, type RideFixture } from './fixtures.js';
import { complete, get, NoAnswer, traces, type Reply, type Traces } from './step-client.js';

/*
 * What completing a ride has to do, as a client of the API sees it. Every step passes the same tests. A step answers
 * either 200 when everything is settled, or 202 and settles the ride later.
 */

/** Longest time for a ride to settle, in ms. */
const SETTLE_MS = 20_000;
/** The same after one ride has not settled in time, so that a broken step fails fast. In ms. */
const SETTLE_AFTER_FAILURE_MS = 2000;
/** Nothing may change for this long after a ride has settled, in ms. */
const QUIET_MS = 300;

/** A test of the acceptance suite. `run` throws an Error with one sentence when the test fails. */
export interface Acceptance {
  readonly name: string;
  readonly run: (url: string, limits: Limits) => Promise<void>;
}

/** How long a ride may take to settle, in ms. It becomes shorter when a ride has not settled in time. */
interface Limits {
  settleMs: number;
}

/** The effects that a completed ride has to have. Cents. */
interface Expected {
  readonly price: number;
  readonly driverFee: number;
  readonly miles: number | null;
}

export const ACCEPTANCE_TESTS: readonly Acceptance[] = [
  {
    name: "the demo's ride costs 51.00, of which the driver earns 48.56",
    run: (url, limits) => settles(url, limits, DEMO, { price: 5100, driverFee: 4856, miles: 10 }),
  },
  {
    name: 'a ride on a Saturday night has the weekend tariff, and a driver without a fee agreement earns 98 %',
    run: (url, limits) => settles(url, limits, ACCEPTANCE.weekend, { price: 11_500, driverFee: 11_270, miles: 10 }),
  },
  {
    name: 'a ride that ends at the planned destination, with a flat fee',
    run: (url, limits) =>
      settles(url, limits, ACCEPTANCE.planned, { price: 5100, driverFee: 4400, miles: 10 }, PLANNED),
  },
  {
    name: 'a client without an account gets no miles, and the ride completes',
    run: (url, limits) =>
      settles(url, limits, ACCEPTANCE.withoutAccount, { price: 5100, driverFee: 4856, miles: null }),
  },
  {
    name: 'a client with an inactive account gets no miles',
    run: (url, limits) => settles(url, limits, ACCEPTANCE.inactiveAccount, { price: 5100, driverFee: 4856, miles: 0 }),
  },
  {
    name: 'completing a ride a second time changes nothing',
    run: async (url, limits) => {
      const expected = { price: 5100, driverFee: 4856, miles: 10 };
      await settles(url, limits, ACCEPTANCE.repeated, expected);
      const { status } = await complete(url, ACCEPTANCE.repeated.id);
      if (![200, 202, 409].includes(status)) throw new Error(`Completing it again was answered ${status}`);
      await wait(QUIET_MS);
      assertTraces(
        'After a second request,',
        await traces(url, ACCEPTANCE.repeated),
        expectedTraces(expected, REACHED),
      );
    },
  },
  {
    name: 'a ride that has not begun, or does not exist, is not completed',
    run: async (url) => {
      const { id } = ACCEPTANCE.notStarted;
      assertRefused(await complete(url, id), 409, 'Completing a ride that has not begun');
      const ride = await get(url, `/transits/${id}`);
      assertEqual('Its status', ride.body.status, 'TRANSIT_TO_PASSENGER');
      const unknown = '00000000-dead-4000-8000-000000000000';
      assertRefused(await complete(url, unknown), 404, 'Completing a ride that does not exist');
    },
  },
  {
    name: 'an address without a street is refused with a problem document that names the field',
    run: async (url) => {
      const { street: _, ...incomplete } = REACHED;
      const reply = await complete(url, ACCEPTANCE.notStarted.id, incomplete);
      assertRefused(reply, 400, 'An address without a street');
      const errors = (reply.body.errors ?? []) as { field: string }[];
      if (!errors.some(({ field }) => field === 'street'))
        throw new Error('The problem document does not name the field street');
    },
  },
];

/** Runs all tests. @returns the failures, by the names of the tests */
export async function acceptance(url: string): Promise<Map<string, string>> {
  const failures = new Map<string, string>();
  const limits = { settleMs: SETTLE_MS };
  for (const { name, run } of ACCEPTANCE_TESTS) {
    const failure = await run(url, limits).catch((error: Error) => error);
    if (failure) failures.set(name, failure.message);
    // A process that loops would not answer the other tests either.
    if (failure instanceof NoAnswer) break;
  }
  return failures;
}

async function settles(
  url: string,
  limits: Limits,
  ride: RideFixture,
  expected: Expected,
  reached: object = REACHED,
): Promise<void> {
  const { status } = await complete(url, ride.id, reached);
  if (status !== 200 && status !== 202) throw new Error(`Completing it was answered ${status}`);
  const target = expectedTraces(expected, reached);
  const deadline = Date.now() + (status === 200 ? 0 : limits.settleMs);
  let seen = await traces(url, ride);
  for (; !isDeepStrictEqual(seen, target) && Date.now() < deadline; seen = await traces(url, ride)) await wait(20);
  const after = status === 200 ? 'When the request was answered,' : `After ${limits.settleMs / 1000} s,`;
  if (!isDeepStrictEqual(seen, target)) limits.settleMs = SETTLE_AFTER_FAILURE_MS;
  assertTraces(after, seen, target);
  if (status === 202) await wait(QUIET_MS);
  assertTraces('A moment later,', await traces(url, ride), target);
}

function expectedTraces({ price, driverFee, miles }: Expected, reached: object): Traces {
  const { street, buildingNumber } = reached as typeof REACHED;
  return {
    status: 'COMPLETED',
    price,
    driverFee,
    to: `${street} ${buildingNumber}`,
    driverIsFree: true,
    invoices: [price],
    miles,
    pending: [],
  };
}

function assertRefused({ status, body }: Reply, expected: number, what: string): void {
  if (status !== expected) throw new Error(`${what} was answered ${status}, not ${expected}: ${JSON.stringify(body)}`);
  if (body.status !== expected)
    throw new Error(`${what} was refused without a problem document: its body has no status`);
}

/** @throws Error that names the effects that differ */
function assertTraces(when: string, seen: Traces, target: Traces): void {
  const differs = Object.keys(target).filter((name) => !isDeepStrictEqual(seen[name], target[name]));
  const shown = differs.map((name) => `${name} is ${JSON.stringify(seen[name])}, not ${JSON.stringify(target[name])}`);
  if (shown.length > 0) throw new Error(`${when} ${shown.join(', ')}`);
}

function assertEqual(what: string, actual: unknown, expected: unknown): void {
  if (isDeepStrictEqual(actual, expected)) return;
  throw new Error(`${what} is ${JSON.stringify(actual)}, not ${JSON.stringify(expected)}`);
}
