import { setTimeout as wait } from 'node:timers/promises';
import { Agent, request } from 'undici';
import { REACHED } from '../../src/demo.js';
import type { RideFixture } from '../runner/fixtures.js';

/** The answer to a user who completed a ride. */
export interface Answer {
  readonly ride: RideFixture;
  /** 0 when there was no answer. */
  readonly status: number;
  /** The user's wait, in ms. */
  readonly ms: number;
}

/** Longest wait of a user, in ms. */
const TIMEOUT_MS = 60_000;

/** Users of a step. Each completes one ride and asks once. */
export class Users {
  private readonly agent = new Agent({ headersTimeout: TIMEOUT_MS, bodyTimeout: TIMEOUT_MS, connections: 256 });

  constructor(private readonly url: string) {}

  /** Completes a ride. It never throws. */
  async complete(ride: RideFixture): Promise<Answer> {
    const began = performance.now();
    const status = await request(`${this.url}/transits/${ride.id}/complete`, {
      method: 'POST',
      dispatcher: this.agent,
      body: JSON.stringify(REACHED),
      headers: { 'content-type': 'application/json' },
    }).then(
      async (reply) => {
        await reply.body.dump();
        return reply.statusCode;
      },
      () => 0,
    );
    return { ride, status, ms: performance.now() - began };
  }

  /** Completes rides at a steady rate, whether or not the earlier requests have been answered. */
  async steadily(rides: readonly RideFixture[], perSecond: number): Promise<Answer[]> {
    const began = performance.now();
    const answers: Promise<Answer>[] = [];
    for (const [index, ride] of rides.entries()) {
      await wait(Math.max(0, began + (index * 1000) / perSecond - performance.now()));
      answers.push(this.complete(ride));
    }
    return Promise.all(answers);
  }

  /** Completes rides with `atATime` users at the same time: each of them waits for an answer before the next ride. */
  async inTurn(rides: readonly RideFixture[], atATime: number): Promise<Answer[]> {
    const left = [...rides];
    const answers: Answer[] = [];
    const one = async () => {
      for (let ride = left.shift(); ride; ride = left.shift()) answers.push(await this.complete(ride));
    };
    await Promise.all(Array.from({ length: atATime }, one));
    return answers;
  }

  async leave(): Promise<void> {
    await this.agent.destroy();
  }
}

export function isSuccess({ status }: Answer): boolean {
  return status >= 200 && status < 300;
}
