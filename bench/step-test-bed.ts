import { freePort } from '../tools/ports.js';
import { isSuccess, Users } from '../workshop/lab/load.js';
import { comeToRest, isSettled, tracesOf } from '../workshop/lab/outcomes.js';
import { manyRides, insertRides } from '../workshop/runner/fixtures.js';
import { StepProcesses } from '../workshop/runner/step-processes.js';
import type { Step } from '../workshop/runner/steps.js';
import type { TestBed } from './rounds.js';
import { completeAndSettle, QUIET, WARM_UP } from './transit-load.js';

/** Transits of a round with a steady load. */
export const STEADY_TRANSITS = 1600;
/** Users per second of a steady load. */
export const PER_SECOND = 160;

/** A running step of the workshop, and its users. */
export class StepTestBed {
  private readonly users: Users;
  private rounds = 0;
  private completed = 0;

  private constructor(private readonly processes: StepProcesses) {
    this.users = new Users(processes.url);
  }

  static async open(
    { newDatabasePath }: TestBed,
    step: Step,
    environment: Record<string, string> = {},
  ): Promise<StepTestBed> {
    // The first process of a step uses this port, the others the ports from ten above it.
    const port = await freePort(20);
    const options = { data: newDatabasePath(), port, environment: { ...QUIET, ...environment } };
    const testBed = new StepTestBed(await StepProcesses.open(step, options));
    for (let n = 0; n < WARM_UP.times; n++) await testBed.settle(WARM_UP.transits);
    return testBed;
  }

  /** @returns transits per second, from the first request until all messages of the last transit are handled */
  async settle(howMany: number): Promise<number> {
    const transits = this.prepare(howMany);
    const name = `Step ${this.processes.step.number}`;
    const ms = await completeAndSettle(name, this.users, transits, async () => this.pending());
    const whole = [...tracesOf(this.processes.databases, transits).values()].filter(isSettled).length;
    if (whole < howMany) throw new Error(`${name}: ${howMany - whole} transits were not settled`);
    return (1000 * howMany) / ms;
  }

  /** @param slowMs added to the time that invoicing takes. @returns the wait of each user, in ms */
  async waits(slowMs: number): Promise<number[]> {
    const transits = this.prepare(STEADY_TRANSITS);
    this.processes.broadcast({ faults: { accounting: { slowMs } } });
    const answers = await this.users.steadily(transits, PER_SECOND);
    await comeToRest(this.processes.step, this.processes.databases);
    const failed = answers.filter((it) => !isSuccess(it)).length;
    if (failed > 0) throw new Error(`${failed} transits were not completed`);
    return answers.map(({ ms }) => ms);
  }

  /** Messages handled for each transit, on average. */
  handledPerTransit(): number {
    const handled = this.processes.databases
      .named('cabs')
      .prepare('SELECT COUNT(*) FROM mesh_inbox')
      .pluck()
      .get() as number;
    return handled / this.completed;
  }

  async close(): Promise<void> {
    await this.users.leave();
    await this.processes.close();
  }

  private prepare(howMany: number) {
    const transits = manyRides(++this.rounds, howMany);
    this.completed += howMany;
    insertRides(this.processes.databases, transits);
    return transits;
  }

  /** Counts pending messages; steps 0 to 2 have none. */
  private pending(): number {
    const { step, databases } = this.processes;
    const tables = Object.entries(step.waiting).flatMap(([name, of]) => of.map((table) => [name, table] as const));
    const count = ([name, table]: readonly [string, string]) =>
      databases.named(name).prepare(`SELECT COUNT(*) FROM ${table}`).pluck().get() as number;
    return tables.reduce((sum, it) => sum + count(it), 0);
  }
}
