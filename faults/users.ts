import { setTimeout as wait } from 'node:timers/promises';
import { PICKUP, PLANNED, REACHED } from '../src/demo.js';
import type { RideFixture } from '../workshop/runner/fixtures.js';
import type { Action, Ledger } from './ledger.js';
import type { Random } from './random.js';
import {
  isRetryable,
  isSuccess,
  REQUEST_TIMEOUT_MS,
  summaryOf,
  unexpectedAnswer,
  UserRequests,
  type Answer,
} from './user-requests.js';

/** Journeys from a new client to the end of a transit that begin in a second. */
const JOURNEYS_PER_SECOND = 0.7;
/** Probability that a user gives up after one request without a success. */
const GIVE_UP_PROBABILITY = 0.1;
/** Probability that the transit of a journey is cancelled: at once after its driver was asked, or when the driver comes. */
const CANCEL_PROBABILITY = 0.4;
/** Probability that a user repeats a request that was answered with a success. */
const REPEAT_PROBABILITY = 0.15;

interface Transit {
  readonly status: string;
}

const STATUS_ORDER = ['DRAFT', 'WAITING_FOR_DRIVER_ASSIGNMENT', 'ACCEPTING', 'TRANSIT_TO_PASSENGER', 'IN_TRANSIT'];

/**
 * Users who arrive at a steady rate. They repeat unanswered requests with the same idempotency key. The ledger records
 * every success, and as surprises: answers that no user should get, and users without an answer long after recovery.
 */
export class Users {
  private readonly requests: UserRequests;
  private readonly inFlight = new Set<Promise<void>>();
  private isOpen = true;

  constructor(
    urls: readonly string[],
    private readonly ledger: Ledger,
    private readonly random: Random,
  ) {
    this.requests = new UserRequests(urls, ledger, random);
  }

  /** Completes one transit after another at a steady rate, and plays whole journeys beside, until it is closed. */
  async run(transits: readonly RideFixture[], perSecond: number): Promise<void> {
    // No journey may begin during close(): it would be reported as a user who was never answered.
    const journeys = setInterval(() => this.isOpen && this.track(this.journey()), 1000 / JOURNEYS_PER_SECOND);
    for (const transit of transits) {
      if (!this.isOpen) break;
      this.track(this.complete(transit.id, this.random.chance(GIVE_UP_PROBABILITY)));
      await wait(1000 / perSecond);
    }
    while (this.isOpen) await wait(50);
    clearInterval(journeys);
  }

  /** Lets no new users in. Users who are there may repeat their requests for `ms`. Faults have to be over by now. */
  async close(ms: number): Promise<void> {
    this.isOpen = false;
    this.requests.hasRecovered = true;
    const all = Promise.all(this.inFlight);
    // Without ref: the timer must not keep the process alive when all requests end earlier.
    const atMost = (maxMs: number) => Promise.race([all, wait(maxMs, undefined, { ref: false })]);
    await atMost(ms);
    this.requests.mayRetry = false;
    await atMost(REQUEST_TIMEOUT_MS);
    await this.requests.close();
  }

  private track(user: Promise<void>): void {
    const tracked = user.catch((error: Error) => this.ledger.recordSurprise(error.message));
    this.inFlight.add(tracked);
    void tracked.then(() => this.inFlight.delete(tracked));
  }

  private async complete(transit: string, givesUp = false): Promise<void> {
    const { requests, ledger } = this;
    const key = requests.newKey();
    const began = Date.now();
    const path = `/transits/${transit}/complete`;
    const accepted = await requests.postUntilAccepted('complete', path, REACHED, { key, givesUp });
    if (!accepted) return;
    ledger.record('complete', transit, accepted.status, began);
    if (!this.random.chance(REPEAT_PROBABILITY)) return;
    const repeated = await requests.send('POST', path, REACHED, key);
    if (repeated.status >= 400 && repeated.status < 500) {
      ledger.recordSurprise(`${path} with a key that was accepted: ${summaryOf(repeated)}`);
    }
  }

  /** Plays a transit from its request to its end, with a new client and a new driver. */
  private async journey(): Promise<void> {
    const { requests, ledger } = this;
    const create = async (action: Action, path: string, body?: object) => {
      const key = requests.newKey();
      const answer = await requests.postUntilAccepted<{ id: number | string }>(action, path, body, { key });
      if (answer?.body) ledger.record(action, answer.body.id, answer.status);
      return answer?.body?.id;
    };
    const client = await create('client', '/clients', { name: 'Anna', lastName: 'Nowak' });
    if (client === undefined) return;
    const account = await requests.postUntilAccepted('account', `/clients/${client}/awards`);
    if (account) ledger.record('account', client, account.status);
    const activated = account && (await requests.postUntilAccepted('activated', `/clients/${client}/awards/activate`));
    if (activated) ledger.record('activated', client, activated.status);
    const license = { firstName: 'Jan', lastName: 'Kowalski', driverLicense: 'FARME100165AB5EW' };
    const driverId = await create('driver', '/drivers', license);
    if (driverId === undefined) return;
    if (!(await requests.postUntilAccepted('driver', `/drivers/${driverId}/activate`))) return;
    const transit = await create('request', '/transits', { clientId: client, from: PICKUP, to: PLANNED });
    if (transit === undefined) return;
    const id = String(transit);
    await this.step(id, 'publish', 'WAITING_FOR_DRIVER_ASSIGNMENT');
    await this.step(id, 'accept', 'ACCEPTING', { driverId });
    const isCancelled = this.random.chance(CANCEL_PROBABILITY);
    if (isCancelled && this.random.chance(0.5)) return this.step(id, 'cancel', 'CANCELLED');
    if (!(await this.waitForStatus(id, 'TRANSIT_TO_PASSENGER'))) return;
    if (isCancelled) return this.step(id, 'cancel', 'CANCELLED');
    await this.step(id, 'start', 'IN_TRANSIT');
    await this.complete(id);
  }

  /** Takes one step of a transit. @throws Error when the step is refused, or when the run ends before a success */
  private async step(transit: string, action: Action, leadsTo: string, body?: object): Promise<void> {
    const { requests } = this;
    let answer: Answer = { status: 0 };
    while (requests.mayRetry) {
      answer = await requests.send('POST', `/transits/${transit}/${action}`, body);
      if (isSuccess(answer)) {
        this.ledger.record(action, transit, answer.status);
        return;
      }
      if (!isRetryable(answer)) throw unexpectedAnswer(`/transits/${transit}/${action}`, answer);
      // An earlier request whose answer was lost has taken the step, so the step can't be taken again.
      if (answer.status === 409 && (await this.hasReached(transit, leadsTo))) return;
      await requests.pause();
    }
    throw unexpectedAnswer(`/transits/${transit}/${action} until the end`, answer);
  }

  /** @returns false when the run ends first; such a transit is counted as stuck */
  private async waitForStatus(transit: string, status: string): Promise<boolean> {
    while (this.requests.mayRetry) {
      if (await this.hasReached(transit, status)) return true;
      await this.requests.pause();
    }
    return false;
  }

  private async hasReached(transit: string, status: string): Promise<boolean> {
    const { body } = await this.requests.send<Transit>('GET', `/transits/${transit}`);
    if (body === undefined || !STATUS_ORDER.includes(status)) return body?.status === status;
    return STATUS_ORDER.indexOf(body.status) >= STATUS_ORDER.indexOf(status);
  }
}
