import { randomUUID } from 'node:crypto';
import { PICKUP, PLANNED, REACHED } from '../../src/demo.js';
import { UnitOfWork } from '../../src/infrastructure/persistence/unit-of-work.js';
import type { Cabs } from './cabs.js';
import { planLosses, type Loss } from './message-loss.js';
import { bodyOf, get, newClient, newDriver, post, waitUntilIdle, type Ride } from './rest.js';
import { runConcurrently } from './server.js';

/*
 * Journeys that together send every message of the contracts. A journey takes its next step when its transit has the
 * status that the step needs; when a lost message prevents that, the journey hangs.
 */

const OTHER = { ...PLANNED, buildingNumber: 30 };

type Act = (scenario: Scenario) => Promise<unknown>;

/** A step, and the status that it needs. */
type Step = readonly [needs: Ride['status'], act: Act];

export interface Journey {
  readonly name: string;
  readonly steps: readonly Step[];
  /** What `outcomeOf()` returns in the end. */
  readonly outcome: { readonly status: string };
}

const on =
  (action: string, body?: object, status = 200): Act =>
  async ({ cabs, transit }) => {
    const path = `/transits/${transit}/${action}`;
    let reply = await cabs.http.post(path).send(body);
    // A unit of work took over a second, on a busy machine: users try again.
    while (reply.status === 503) reply = await cabs.http.post(path).send(body);
    return bodyOf(reply, status);
  };
const accept =
  (driver: number): Act =>
  (scenario) =>
    on('accept', { driverId: scenario.drivers[driver] }, 202)(scenario);
const complete = on('complete', REACHED, 202);

/** The state after FreeDriver has overtaken an OccupyDriver: drivers refuses this driver for this transit. */
const freeBefore: Act = ({ cabs, transit, drivers }) =>
  execute(cabs, `INSERT INTO drivers_occupancy (driver_id, transit_id, state) VALUES ($1, $2, 'FREED')`, [
    drivers[0]!,
    transit!,
  ]);
/** As when drivers was restored from a backup without this driver. */
const forgetDriver: Act = ({ cabs, drivers }) =>
  execute(cabs, 'DELETE FROM drivers_driver WHERE id = $1', [drivers[0]!]);
const both =
  (first: Act, second: Act): Act =>
  async (scenario) => {
    await first(scenario);
    await second(scenario);
  };

const publish: Step = ['DRAFT', on('publish')];
const taken: Step = ['WAITING_FOR_DRIVER_ASSIGNMENT', accept(0)];
const start: Step = ['TRANSIT_TO_PASSENGER', on('start')];

const SETTLED = { driverFee: 'settled', driverFreed: 'settled', miles: 'settled', invoice: 'settled' };
const COMPLETED = {
  status: 'COMPLETED',
  settlement: SETTLED,
  invoices: 1,
  fees: 1,
  transactions: 1,
  occupied: 0,
  routes: 1,
};
const CANCELLED = { status: 'CANCELLED', invoices: 0, fees: 0, transactions: 0, occupied: 0, routes: 1 };

export const JOURNEYS: readonly Journey[] = [
  {
    name: 'a ride that gets another destination on the way, and ends elsewhere',
    steps: [publish, taken, start, ['IN_TRANSIT', on('destination', OTHER)], ['IN_TRANSIT', complete]],
    outcome: COMPLETED,
  },
  {
    name: 'a ride whose first driver is refused',
    steps: [
      publish,
      ['WAITING_FOR_DRIVER_ASSIGNMENT', both(freeBefore, accept(0))],
      ['WAITING_FOR_DRIVER_ASSIGNMENT', accept(1)],
      start,
      ['IN_TRANSIT', complete],
    ],
    outcome: COMPLETED,
  },
  {
    name: 'a ride whose driver drivers has lost',
    steps: [publish, taken, start, ['IN_TRANSIT', both(forgetDriver, complete)]],
    outcome: { ...COMPLETED, settlement: { ...SETTLED, driverFee: 'failed' }, fees: 0 },
  },
  {
    name: 'a ride that is cancelled when its driver is on the way',
    steps: [publish, taken, ['TRANSIT_TO_PASSENGER', on('cancel')]],
    outcome: CANCELLED,
  },
  {
    name: 'a ride that is cancelled at once',
    steps: [publish, ['WAITING_FOR_DRIVER_ASSIGNMENT', both(accept(0), on('cancel'))]],
    outcome: CANCELLED,
  },
];

/** A journey with a client and drivers of its own, during which messages are lost. */
export interface Scenario {
  readonly cabs: Cabs;
  readonly journey: Journey;
  readonly losses: readonly Loss[];
  readonly client: number;
  readonly drivers: readonly number[];
  transit?: string;
  /** How many steps it has taken. */
  taken: number;
}

export async function prepareScenario(cabs: Cabs, journey: Journey, losses: readonly Loss[] = []): Promise<Scenario> {
  const client = await newClient(cabs);
  await post(cabs, `/clients/${client}/awards`, undefined, 201);
  await post(cabs, `/clients/${client}/awards/activate`);
  const drivers = [await newDriver(cabs), await newDriver(cabs)];
  return { cabs, journey, losses, client, drivers, taken: 0 };
}

/** Names a scenario in the report of a failed test. */
export function nameOf({ journey, losses }: Scenario): string {
  return `${journey.name}, without ${losses.map(({ type, n }) => `${type} #${n}`).join(' and ') || 'a loss'}`;
}

/** Plays all scenarios as far as they get. Each step is over when no message is pending. */
export async function playAll(scenarios: readonly Scenario[]): Promise<void> {
  if (scenarios.length === 0) return;
  for (let hasMoved = true; hasMoved;) {
    const moves = await runConcurrently(4, scenarios.length, (n) => step(scenarios[n]!));
    hasMoved = moves.includes(true);
    await waitUntilIdle(scenarios[0]!.cabs);
  }
}

/** @returns whether there was a step to take */
async function step(scenario: Scenario): Promise<boolean> {
  const { cabs, journey } = scenario;
  if (!scenario.transit) {
    await request(scenario);
    return true;
  }
  const [needs, act] = journey.steps[scenario.taken] ?? [];
  if (!act || (await get<Ride>(cabs, `/transits/${scenario.transit}`)).status !== needs) return false;
  scenario.taken++;
  await act(scenario);
  return true;
}

async function request(scenario: Scenario): Promise<void> {
  const { cabs, client, losses } = scenario;
  const correlationId = randomUUID();
  await planLosses(cabs, correlationId, losses);
  const body = { clientId: client, from: PICKUP, to: PLANNED };
  const reply = await cabs.http.post('/transits').set('X-Correlation-Id', correlationId).send(body).expect(201);
  scenario.transit = (reply.body as Ride).id;
}

/** The state of a scenario in all modules. */
export async function outcomeOf({ cabs, transit, client, drivers }: Scenario): Promise<object> {
  const { status, settlement, to } = await get<Ride>(cabs, `/transits/${transit}`);
  const invoices = await get<object[]>(cabs, `/invoices?transitId=${transit}`);
  const { transactions } = await get<{ transactions: number }>(cabs, `/clients/${client}/awards`);
  const count = async (rows: string, ...parameters: (string | number)[]) => {
    const { sql } = cabs.app.get(UnitOfWork);
    return Number((await sql.all<{ n: number | string }>(`SELECT COUNT(*) AS n FROM ${rows}`, parameters))[0]!.n);
  };
  return {
    status,
    ...(settlement && { settlement }),
    invoices: invoices.length,
    fees: await count('drivers_fee WHERE transit_id = $1', transit!),
    transactions,
    occupied: await count(`drivers_occupancy WHERE state = 'OCCUPIED' AND driver_id IN ($1, $2)`, ...drivers),
    routes: await count('geolocation_route WHERE transit_id = $1 AND address_id = $2', transit!, to.id),
  };
}

async function execute({ app }: Cabs, statement: string, parameters: (string | number)[]): Promise<void> {
  const work = app.get(UnitOfWork);
  await work.run(() => work.sql.run(statement, parameters));
}
