import type { TestingModuleBuilder } from '@nestjs/testing';
import type { Response } from 'supertest';
import type { z } from 'zod';
import { PICKUP, PLANNED } from '../../src/demo.js';
import { Clock } from '../../src/infrastructure/observability/clock.js';
import type { OutboxStatistics } from '../../src/infrastructure/store/statistics.js';
import type { Problem } from '../../src/infrastructure/http/problem.js';
import type { client } from '../../src/modules/clients/contract.js';
import type { driver, fee } from '../../src/modules/drivers/contract.js';
import type { transit } from '../../src/modules/rides/contract.js';
import { eventually, type Cabs } from './cabs.js';

/* Shared by the tests of the REST interface. */

export type Client = z.infer<typeof client>;
export type Driver = z.infer<typeof driver>;
export type Ride = z.infer<typeof transit>;
type Reached = 'DRAFT' | 'WAITING_FOR_DRIVER_ASSIGNMENT' | 'TRANSIT_TO_PASSENGER' | 'IN_TRANSIT' | 'COMPLETED';

/** A Wednesday, noon in Warsaw: the price of 42 km is 5100. */
export const WEDNESDAY_NOON = '2021-04-14T10:00:00.000Z';

/** A clock that the test sets. Each reading is one millisecond later, so that events have an order. */
export class TestClock extends Clock {
  private at = 0;

  constructor(at = WEDNESDAY_NOON) {
    super();
    this.set(at);
  }

  set(at: string): void {
    this.at = Date.parse(at);
  }

  override now(): Date {
    return new Date(this.at++);
  }

  /** For `startCabs`. */
  readonly override = (testing: TestingModuleBuilder) => testing.overrideProvider(Clock).useValue(this);
}

export async function get<Body>({ http }: Cabs, path: string, status = 200): Promise<Body> {
  return bodyOf<Body>(await http.get(path), status);
}

export async function post<Body>({ http }: Cabs, path: string, body?: object, status = 200): Promise<Body> {
  return bodyOf<Body>(await http.post(path).send(body), status);
}

/** Expects a status. @returns the body; a failing test also shows it */
export function bodyOf<Body>(reply: Response, status: number): Body {
  expect({ status: reply.status, body: reply.body as unknown }).toEqual({ status, body: expect.anything() as unknown });
  return reply.body as Body;
}

/** Expects a problem document that names exactly these fields. */
export function problemOf(reply: Response, status: number, ...fields: string[]): Problem {
  const problem = bodyOf<Problem>(reply, status);
  expect(reply.type).toBe('application/problem+json');
  expect(problem).toMatchObject({ type: 'about:blank', status, correlationId: reply.get('x-correlation-id') });
  expect(problem.title).toMatch(/\w/);
  expect((problem.errors ?? []).map(({ field }) => field).sort()).toEqual(fields.sort());
  return problem;
}

export async function newClient(cabs: Cabs): Promise<number> {
  return (await post<Client>(cabs, '/clients', { name: 'Jane', lastName: 'Roe' }, 201)).id;
}

/** An active driver. */
export async function newDriver(cabs: Cabs, agreed?: z.infer<typeof fee>): Promise<number> {
  const driver = { firstName: 'Ada', lastName: 'Byron', driverLicense: 'FARME100165AB5EW', fee: agreed };
  const { id } = await post<Driver>(cabs, '/drivers', driver, 201);
  await post(cabs, `/drivers/${id}/activate`);
  return id;
}

export async function newRide(cabs: Cabs, clientId?: number): Promise<Ride> {
  const request = { clientId: clientId ?? (await newClient(cabs)), from: PICKUP, to: PLANNED };
  return post<Ride>(cabs, '/transits', request, 201);
}

/** A transit in the given status, with a driver of its own. */
export async function transitIn(cabs: Cabs, status: Reached): Promise<{ id: string; driverId: number }> {
  const [{ id }, driverId] = [await newRide(cabs), await newDriver(cabs)];
  const steps = {
    DRAFT: async () => undefined,
    WAITING_FOR_DRIVER_ASSIGNMENT: () => post(cabs, `/transits/${id}/publish`),
    TRANSIT_TO_PASSENGER: () => take(cabs, id, driverId),
    IN_TRANSIT: () => post(cabs, `/transits/${id}/start`),
    COMPLETED: async () =>
      bodyOf(await cabs.http.post(`/transits/${id}/complete`).set('Prefer', 'wait=10').send(PLANNED), 200),
  };
  for (const [reached, step] of Object.entries(steps)) {
    await step();
    if (reached === status) break;
  }
  expect(await get<Ride>(cabs, `/transits/${id}`)).toMatchObject({ status });
  return { id, driverId };
}

/** Lets a driver accept a transit, and waits until that is confirmed. */
export async function take({ http }: Cabs, id: string, driverId: number): Promise<Ride> {
  const reply = await http.post(`/transits/${id}/accept`).set('Prefer', 'wait=10').send({ driverId });
  return bodyOf<Ride>(reply, 200);
}

/** Waits until no message is pending. */
export async function waitUntilIdle(cabs: Cabs): Promise<void> {
  await eventually(
    () => get<OutboxStatistics>(cabs, '/mesh/outbox'),
    ({ pending }) => pending === 0,
  );
}
