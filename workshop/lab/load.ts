import { setTimeout as wait } from 'node:timers/promises';
import { Agent, request } from 'undici';
import { REACHED } from '../../src/demo.js';
import type { UnderWay } from '../runner/fixtures.js';

/** What a user got for saying that his ride is over. */
export interface Answer {
  readonly ride: UnderWay;
  /** 0 where there was none. */
  readonly status: number;
  /** His wait, in ms. */
  readonly ms: number;
}

/** A user's patience, in ms. */
const PATIENCE_MS = 60_000;

/** Users. Each has one ride, and asks once. */
export class Users {
  private readonly agent = new Agent({ headersTimeout: PATIENCE_MS, bodyTimeout: PATIENCE_MS, connections: 256 });

  constructor(private readonly url: string) {}

  /** Says that a ride is over. It never throws. */
  async complete(ride: UnderWay): Promise<Answer> {
    const began = performance.now();
    const status = await request(`${this.url}/transits/${ride.id}/complete`, {
      ...{ method: 'POST', dispatcher: this.agent, body: JSON.stringify(REACHED) },
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

  /** At a steady rate, whether or not the earlier ones have been answered: users don't wait for each other. */
  async steadily(rides: readonly UnderWay[], perSecond: number): Promise<Answer[]> {
    const began = performance.now();
    const answers: Promise<Answer>[] = [];
    for (const [index, ride] of rides.entries()) {
      await wait(Math.max(0, began + (index * 1000) / perSecond - performance.now()));
      answers.push(this.complete(ride));
    }
    return Promise.all(answers);
  }

  /** As fast as so many at a time can. */
  async inTurn(rides: readonly UnderWay[], atATime: number): Promise<Answer[]> {
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
