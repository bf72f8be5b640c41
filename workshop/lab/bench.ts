import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ROOT } from '../../tools/source.js';
import { House } from '../runner/step-processes.js';
import { manyRides, putUnderWay, type UnderWay } from '../runner/fixtures.js';
import { needsBuild, type Step } from '../runner/steps.js';
import type { Fault, Size } from './faults.js';
import type { LabOptions, Outcome } from './lab.js';
import { isSuccess, Users } from './load.js';
import { comeToRest, effectsOf, isWhole, tracesOf } from './outcomes.js';
import { percentile } from './statistics.js';

const AGENT = pathToFileURL(join(ROOT, 'workshop/lab/agent.mjs')).href;
const APPLICATION = pathToFileURL(join(ROOT, 'dist/src/modules/invoicing/issue-invoice.js')).href;
/** Rides that are completed before anything is measured. */
const WARM_UP = 30;

/** A step under measurement. */
export class Bench {
  callsPerRide = 0;
  private runs = 0;
  private readonly users: Users;
  private calls: (() => void)[] = [];
  private counted = 0;

  private constructor(private readonly house: House) {
    this.users = new Users(house.url);
  }

  static async open(step: Step, { data, port }: Pick<LabOptions, 'data' | 'port'>): Promise<Bench> {
    let bench: Bench | undefined = undefined;
    const house = await House.open(step, {
      ...{ data, port, hear: (message) => bench?.hear(message as { calls?: number }) },
      environment: {
        // Of the application's log only what would be printed in vain.
        ...{ LOG_LEVEL: 'fatal', NODE_OPTIONS: `--import=${AGENT}` },
        ...(step.remote && { WORKSHOP_REMOTE: step.remote.source }),
        ...(needsBuild(step) && { WORKSHOP_APPLICATION: APPLICATION }),
      },
    });
    bench = new Bench(house);
    return bench;
  }

  /** Lets the code become as fast as it gets, and counts the remote calls of a ride. */
  async warmUp(): Promise<void> {
    const before = await this.countCalls();
    await this.users.inTurn(this.prepare(WARM_UP), 4);
    await this.rest();
    this.callsPerRide = ((await this.countCalls()) - before) / WARM_UP;
  }

  async measure(fault: Fault, size: Size): Promise<Outcome> {
    const { house, users } = this;
    const rides = this.prepare(fault.rides(size));
    const answers = await fault.run({ house, users }, rides, size);
    const began = performance.now();
    const rested = await this.rest();
    const restMs = performance.now() - began;
    house.tellAll({ faults: {} });
    const traces = tracesOf(house.ledgers, rides);
    const waits = answers.map(({ ms }) => ms);
    const unfinished = rides.filter(({ id }) => !isWhole(traces.get(id)!));
    return {
      ...{ step: house.step.number, fault: fault.name, requests: answers.length, restMs, rested },
      ...{ answered: answers.filter(isSuccess).length, p50Ms: percentile(waits, 0.5), p99Ms: percentile(waits, 0.99) },
      lost: answers.filter((it) => isSuccess(it) && !traces.get(it.ride.id)!.isCompleted).length,
      ...effectsOf(traces.values()),
      stuck: await this.askAgain(unfinished),
    };
  }

  async close(): Promise<void> {
    await this.users.leave();
    await this.house.close();
  }

  private prepare(howMany: number): UnderWay[] {
    const rides = manyRides(++this.runs, howMany);
    putUnderWay(this.house.ledgers, rides);
    return rides;
  }

  private rest(): Promise<boolean> {
    return comeToRest(this.house.step, this.house.ledgers);
  }

  /** @returns how many of them aren't whole even then */
  private async askAgain(rides: readonly UnderWay[]): Promise<number> {
    if (rides.length === 0) return 0;
    await this.users.inTurn(rides, 4);
    await this.rest();
    return [...tracesOf(this.house.ledgers, rides).values()].filter((trace) => !isWhole(trace)).length;
  }

  private async countCalls(): Promise<number> {
    const { planned } = this.house;
    this.counted = 0;
    const answered = Promise.all(planned.map(() => new Promise<void>((resolve) => this.calls.push(resolve))));
    this.house.ask({ howManyCalls: true });
    await answered;
    return this.counted;
  }

  private hear({ calls }: { calls?: number }): void {
    if (calls === undefined) return;
    this.counted += calls;
    this.calls.shift()?.();
  }
}
