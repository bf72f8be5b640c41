import { request } from 'undici';
import { REACHED } from '../../src/demo.js';
import type { RideFixture } from './fixtures.js';

/* A step of the workshop, as a client of its API sees it. */

/** Longest time for an answer, in ms. */
const ANSWER_MS = 15_000;

export interface Reply {
  readonly status: number;
  readonly body: Record<string, unknown>;
}

/** The step did not answer in time. */
export class NoAnswer extends Error {}

export type Traces = Readonly<Record<string, unknown>>;

/** The effects of a completed ride, as the API shows them. */
export async function traces(url: string, { id, driverId, clientId, clientName }: RideFixture): Promise<Traces> {
  const ride = (await get(url, `/transits/${id}`)).body;
  const driver = (await get(url, `/drivers/${driverId}`)).body;
  const awards = await get(url, `/clients/${clientId}/awards`);
  const invoices = (await get(url, `/invoices?transitId=${id}`)).body as unknown as Record<string, unknown>[];
  const to = ride.to as { street: string; buildingNumber: number };
  return {
    status: ride.status,
    price: ride.price,
    driverFee: ride.driverFee,
    to: `${to.street} ${to.buildingNumber}`,
    driverIsFree: !driver.occupied,
    invoices: invoices.map(({ amount, subjectName }) => (subjectName === clientName ? amount : subjectName)),
    miles: awards.status === 404 ? null : awards.body.balance,
    // Only the application shows which effects are still pending.
    pending: Object.entries(ride.settlement ?? {}).flatMap(([what, state]) => (state === 'settled' ? [] : what)),
  };
}

export function complete(url: string, id: string, reached: object = REACHED): Promise<Reply> {
  return send(`${url}/transits/${id}/complete`, 'POST', reached);
}

export function get(url: string, path: string): Promise<Reply> {
  return send(url + path, 'GET');
}

async function send(url: string, method: 'GET' | 'POST', body?: object): Promise<Reply> {
  const headers = { 'content-type': 'application/json' };
  const options = { method, headers, headersTimeout: ANSWER_MS, bodyTimeout: ANSWER_MS };
  const reply = await request(url, { ...options, ...(body && { body: JSON.stringify(body) }) }).catch(
    (error: Error) => {
      if (error.name !== 'HeadersTimeoutError') throw error;
      throw new NoAnswer(`The step did not answer within ${ANSWER_MS / 1000} s. Does something loop?`);
    },
  );
  const text = await reply.body.text();
  return { status: reply.statusCode, body: (text === '' ? {} : JSON.parse(text)) as Record<string, unknown> };
}
