import { setTimeout as wait } from 'node:timers/promises';
import { Agent } from 'undici';
import { PICKUP, PLANNED, REACHED } from '../src/demo.js';
import type { RideFixture } from '../workshop/runner/fixtures.js';
import type { Deed, Ledger } from './ledger.js';
import type { Random } from './random.js';

/** How long a user waits for an answer, in ms. */
const PATIENCE_MS = 15_000;
/** Whole lives of rides that begin in a second. */
const LIVES_PER_SECOND = 0.7;
/** The share of users who leave it at one try, answered or not; and of those who say the same again. */
const GIVING_UP = 0.1;
const REPEATING = 0.15;

interface Answer<Body = unknown> {
  /** 0 where there was none. */
  readonly status: number;
  readonly body?: Body;
}

interface Ride {
  readonly status: string;
}

const ORDER = ['DRAFT', 'WAITING_FOR_DRIVER_ASSIGNMENT', 'ACCEPTING', 'TRANSIT_TO_PASSENGER', 'IN_TRANSIT'];

/**
 * Users at a steady rate, who ask again with the same key when they weren't answered. Successes go into the ledger; so do
 * surprises: an answer that nobody should get, and none at all when everything has been well for long.
 */
export class Users {
  private readonly agent = new Agent({ connections: 128, headersTimeout: PATIENCE_MS, bodyTimeout: PATIENCE_MS });
  private readonly underWay = new Set<Promise<void>>();
  private isOpen = true;
  private mayInsist = true;
  private keys = 0;

  constructor(
    private readonly urls: readonly string[],
    private readonly ledger: Ledger,
    private readonly random: Random,
  ) {}

  /** Lets users come until it is closed, one for each of `rides`; and others who play a ride from its beginning. */
  async come(rides: readonly RideFixture[], perSecond: number): Promise<void> {
    // Whoever came while all is being closed would find it closed, and be taken for one that was never answered.
    const lives = setInterval(() => this.isOpen && this.track(this.live()), 1000 / LIVES_PER_SECOND);
    for (const ride of rides) {
      if (!this.isOpen) break;
      this.track(this.end(ride.id, this.random.chance(GIVING_UP)));
      await wait(1000 / perSecond);
    }
    while (this.isOpen) await wait(50);
    clearInterval(lives);
  }

  /** Nobody comes any more; who is there may go on asking for `ms`. All has to be well from here on. */
  async close(ms: number): Promise<void> {
    this.isOpen = false;
    const all = Promise.all(this.underWay);
    // Waits that nobody waits for any more shall keep no process alive.
    const atMost = (longest: number) => Promise.race([all, wait(longest, undefined, { ref: false })]);
    await atMost(ms);
    this.mayInsist = false;
    await atMost(PATIENCE_MS);
    await this.agent.destroy();
  }

  private track(life: Promise<void>): void {
    const tracked = life.catch((error: Error) => this.ledger.surprise(error.message));
    this.underWay.add(tracked);
    void tracked.then(() => this.underWay.delete(tracked));
  }

  /** Says that a ride is over. */
  private async end(ride: string, givesUp = false): Promise<void> {
    this.ledger.asked.add(ride);
    const key = this.key();
    const path = `/transits/${ride}/complete`;
    const accepted = await this.insist('complete', path, REACHED, { key, givesUp });
    if (!accepted) return;
    this.ledger.note('complete', ride, accepted.status);
    if (!this.random.chance(REPEATING)) return;
    const again = await this.ask('POST', path, REACHED, key);
    if (again.status >= 400 && again.status < 500)
      this.ledger.surprise(`${path} with a key that was accepted: ${told(again)}`);
  }

  /** A ride from its beginning, with a client and a driver who have just come. */
  private async live(): Promise<void> {
    const create = async (deed: Deed, path: string, body?: object) => {
      const answer = await this.insist<{ id: number | string }>(deed, path, body, { key: this.key() });
      if (answer?.body) this.ledger.note(deed, answer.body.id, answer.status);
      return answer?.body?.id;
    };
    const client = await create('client', '/clients', { name: 'Anna', lastName: 'Nowak' });
    if (client === undefined) return;
    const account = await this.insist('account', `/clients/${client}/awards`);
    if (account) this.ledger.note('account', client, account.status);
    const activated = account && (await this.insist('activated', `/clients/${client}/awards/activate`));
    if (activated) this.ledger.note('activated', client, activated.status);
    const license = { firstName: 'Jan', lastName: 'Kowalski', driverLicense: 'FARME100165AB5EW' };
    const driverId = await create('driver', '/drivers', license);
    if (driverId === undefined || !(await this.insist('driver', `/drivers/${driverId}/activate`))) return;
    const ride = await create('request', '/transits', { clientId: client, from: PICKUP, to: PLANNED });
    if (ride === undefined) return;
    const id = String(ride);
    this.ledger.asked.add(id);
    await this.step(id, 'publish', 'WAITING_FOR_DRIVER_ASSIGNMENT');
    await this.step(id, 'accept', 'ACCEPTING', { driverId });
    if (!(await this.reaches(id, 'TRANSIT_TO_PASSENGER'))) return;
    await this.step(id, 'start', 'IN_TRANSIT');
    await this.end(id);
  }

  /** One step of a ride. @throws Error when it is refused, or can't be taken before all is closed */
  private async step(ride: string, deed: Deed, leadsTo: string, body?: object): Promise<void> {
    let answer: Answer = { status: 0 };
    while (this.mayInsist) {
      answer = await this.ask('POST', `/transits/${ride}/${deed}`, body);
      if (isSuccess(answer)) {
        this.ledger.note(deed, ride, answer.status);
        return;
      }
      if (!isPassing(answer)) throw surprising(`/transits/${ride}/${deed}`, answer);
      // Taken by a request whose answer was lost, it can't be taken again.
      if (answer.status === 409 && (await this.hasReached(ride, leadsTo))) return;
      await this.pause();
    }
    throw surprising(`/transits/${ride}/${deed} until the end`, answer);
  }

  /** @returns whether a ride gets so far by itself in time; if it never does, it is counted as stuck */
  private async reaches(ride: string, status: string): Promise<boolean> {
    while (this.mayInsist) {
      if (await this.hasReached(ride, status)) return true;
      await this.pause();
    }
    return false;
  }

  private async hasReached(ride: string, status: string): Promise<boolean> {
    const { body } = await this.ask<Ride>('GET', `/transits/${ride}`);
    return body !== undefined && ORDER.indexOf(body.status) >= ORDER.indexOf(status);
  }

  /**
   * Asks until there is an answer.
   * @returns undefined when the user gives up
   * @throws Error when it is an answer that nobody should get, or there is none before all is closed
   */
  private async insist<Body>(
    deed: Deed,
    path: string,
    body?: object,
    { key, givesUp = false }: { key?: string; givesUp?: boolean } = {},
  ): Promise<Answer<Body> | undefined> {
    let answer: Answer<Body> = { status: 0 };
    while (this.mayInsist) {
      answer = await this.ask<Body>('POST', path, body, key);
      if (isSuccess(answer)) return answer;
      if (!isPassing(answer)) throw surprising(`${path} (${deed})`, answer);
      if (givesUp) return undefined;
      await this.pause();
    }
    throw surprising(`${path} (${deed}) until the end`, answer);
  }

  /** One request; it never throws. */
  private async ask<Body>(method: 'GET' | 'POST', path: string, body?: object, key?: string): Promise<Answer<Body>> {
    const isWell = !this.isOpen;
    try {
      const answer = await this.agent.request({
        ...{ origin: this.random.pick(this.urls), method, path, signal: AbortSignal.timeout(PATIENCE_MS) },
        headers: { 'content-type': 'application/json', ...(key && { 'idempotency-key': key }) },
        ...(body && { body: JSON.stringify(body) }),
      });
      const text = await answer.body.text();
      if (isWell && answer.statusCode >= 500)
        this.ledger.surprise(`${method} ${path} when all was well: ${answer.statusCode} ${text.slice(0, 200)}`);
      const isJson = /json/.test(String(answer.headers['content-type']));
      return { status: answer.statusCode, ...(isJson && { body: JSON.parse(text) as Body }) };
    } catch {
      return { status: 0 };
    }
  }

  private key(): string {
    return `faults-${++this.keys}-${Math.floor(this.random.between(0, 1e9))}`;
  }

  private async pause(): Promise<void> {
    await wait(this.random.between(100, 700));
  }
}

function isSuccess({ status, body }: Answer): boolean {
  // An answer of which a half arrived is none.
  return status >= 200 && status < 300 && body !== undefined;
}

/** Whether asking again may help: there was no answer, it was not available, or the same is under way. */
function isPassing({ status }: Answer): boolean {
  return status < 300 || status >= 500 || status === 409;
}

function surprising(what: string, answer: Answer): Error {
  return new Error(`${what}: ${told(answer)}`);
}

function told({ status, body }: Answer): string {
  return `${status} ${JSON.stringify(body ?? '').slice(0, 200)}`;
}
