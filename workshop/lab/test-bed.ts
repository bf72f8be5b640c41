import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ROOT } from '../../tools/source.js';
import { insertRides, manyRides, type RideFixture } from '../runner/fixtures.js';
import { COMPILED } from '../runner/process-planner.js';
import { StepProcesses } from '../runner/step-processes.js';
import { needsBuild, type Step } from '../runner/steps.js';
import { SLOW_MS, type Fault, type Size } from './faults.js';
import { isSuccess, Users } from './load.js';
import { cpuInUse, TimerDelay } from './noise.js';
import { comeToRest, effectsOf, isSettled, tracesOf } from './outcomes.js';
import type { Outcome } from './report.js';
import { percentile } from './statistics.js';

const AGENT = pathToFileURL(join(ROOT, 'workshop/lab/agent.mjs')).href;
const ISSUE_INVOICE = pathToFileURL(join(ROOT, COMPILED, 'modules/invoicing/issue-invoice.js')).href;
/** Rides that are completed before the first measurement. */
const WARM_UP = 30;
/** Users who complete rides at the same time, where the rate does not matter. */
const USERS = 4;

/** A running step, its users, and what they measure. */
export class TestBed {
  callsPerRide = 0;
  private runs = 0;
  private readonly users: Users;
  private waitingForCalls: (() => void)[] = [];
  private calls = 0;

  private constructor(private readonly processes: StepProcesses) {
    this.users = new Users(processes.url);
  }

  static async open(step: Step, { data, port }: { data: string; port: number }): Promise<TestBed> {
    let testBed: TestBed | undefined = undefined;
    const processes = await StepProcesses.open(step, {
      data,
      port,
      onMessage: (message) => testBed?.receive(message as { calls?: number }),
      environment: {
        // The log and the journal would only cost time during a measurement.
        LOG_LEVEL: 'fatal',
        MESH_JOURNAL: 'PT0S',
        NODE_OPTIONS: `--import=${AGENT}`,
        ...(step.remote && { WORKSHOP_REMOTE: step.remote.source }),
        ...(needsBuild(step) && { WORKSHOP_APPLICATION: ISSUE_INVOICE }),
      },
    });
    testBed = new TestBed(processes);
    return testBed;
  }

  /** Completes some rides, so that V8 has compiled the code, and counts the remote calls of a ride. */
  async warmUp(): Promise<void> {
    const before = await this.countCalls();
    await this.users.inTurn(this.insertRides(WARM_UP), USERS);
    await this.comeToRest();
    this.callsPerRide = ((await this.countCalls()) - before) / WARM_UP;
  }

  async measure(fault: Fault, size: Size): Promise<Outcome> {
    const { processes, users } = this;
    const rides = this.insertRides(fault.rides(size));
    const cpuBefore = await cpuInUse();
    const timerDelay = new TimerDelay();
    const answers = await fault.run({ processes, users }, rides, size);
    const timerDelayMs = timerDelay.stop();
    const began = performance.now();
    const rested = await this.comeToRest();
    const restMs = performance.now() - began;
    const otherCpu = Math.max(cpuBefore, await cpuInUse());
    processes.broadcast({ faults: {} });
    const traces = tracesOf(processes.databases, rides);
    const waits = answers.map(({ ms }) => ms);
    const successes = answers.filter(isSuccess);
    const { missing, duplicated } = effectsOf(traces.values());
    return {
      step: processes.step.number,
      fault: fault.name,
      requests: answers.length,
      answered: successes.length,
      prompt: successes.filter(({ ms }) => ms < SLOW_MS).length,
      p50Ms: percentile(waits, 0.5),
      p99Ms: percentile(waits, 0.99),
      timerDelayMs,
      otherCpu,
      lost: successes.filter(({ ride }) => !traces.get(ride.id)!.isCompleted).length,
      missing,
      duplicated,
      stuck: await this.askAgain(rides.filter(({ id }) => !isSettled(traces.get(id)!))),
      restMs,
      rested,
    };
  }

  async close(): Promise<void> {
    await this.users.leave();
    await this.processes.close();
  }

  private insertRides(howMany: number): RideFixture[] {
    const rides = manyRides(++this.runs, howMany);
    insertRides(this.processes.databases, rides);
    return rides;
  }

  private comeToRest(): Promise<boolean> {
    return comeToRest(this.processes.step, this.processes.databases);
  }

  /** Completes rides a second time. @returns how many of them are still not settled */
  private async askAgain(rides: readonly RideFixture[]): Promise<number> {
    if (rides.length === 0) return 0;
    await this.users.inTurn(rides, USERS);
    await this.comeToRest();
    return [...tracesOf(this.processes.databases, rides).values()].filter((trace) => !isSettled(trace)).length;
  }

  /** @returns the remote calls that all processes together have received since they started */
  private async countCalls(): Promise<number> {
    const { planned } = this.processes;
    this.calls = 0;
    const replies = planned.map(() => new Promise<void>((resolve) => this.waitingForCalls.push(resolve)));
    this.processes.send({ howManyCalls: true });
    await Promise.all(replies);
    return this.calls;
  }

  private receive({ calls }: { calls?: number }): void {
    if (calls === undefined) return;
    this.calls += calls;
    this.waitingForCalls.shift()?.();
  }
}
