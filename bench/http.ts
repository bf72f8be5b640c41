import { setTimeout as wait } from 'node:timers/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { freePort } from '../tools/ports.js';
import { ROOT } from '../tools/source.js';
import { SLOW_MS } from '../workshop/lab/faults.js';
import { isSuccess, Users } from '../workshop/lab/load.js';
import { comeToRest, isWhole, tracesOf } from '../workshop/lab/outcomes.js';
import { percentile } from '../workshop/lab/statistics.js';
import { House } from '../workshop/runner/house.js';
import { manyRides, putUnderWay } from '../workshop/runner/roster.js';
import { STEPS, type Step } from '../workshop/runner/steps.js';
import { alternating, median, perSecond, ratioRow, type Findings, type Row, type Stand } from './rounds.js';

/** The application of src/, compiled, in one process with one database. */
const APPLICATION = 6;
/** Rides of a round, and users who complete them at the same time. */
const [RIDES, USERS] = [400, 16];
/** Rides of a round in which users come in at a steady rate, and how many of them in a second. */
const [STEADY_RIDES, PER_SECOND] = [800, 80];
/** Rides that are completed before anything is measured. */
const WARM_UP = 200;

const AGENT = pathToFileURL(join(ROOT, 'workshop/lab/agent.mjs')).href;
const INVOICING = pathToFileURL(join(ROOT, 'dist/modules/invoicing/issue-invoice.js')).href;

/** A step that runs, and its users. */
class Stage {
  private readonly users: Users;
  private runs = 0;

  private constructor(private readonly house: House) {
    this.users = new Users(house.url);
  }

  static async open({ fresh }: Stand, step: Step, environment: Record<string, string> = {}): Promise<Stage> {
    // Processes of a step beside the first have their ports from ten above it on.
    const port = await freePort(20);
    const options = { data: fresh(), port, environment: { LOG_LEVEL: 'fatal', ...environment } };
    const stage = new Stage(await House.open(step, options));
    await stage.settle(WARM_UP);
    return stage;
  }

  /** Rides a second, from the first request until all that follows from the last one is done. */
  async settle(howMany: number): Promise<number> {
    const rides = this.prepare(howMany);
    const began = performance.now();
    const answers = await this.users.inTurn(rides, USERS);
    const failed = answers.filter((it) => !isSuccess(it)).length;
    if (failed > 0) throw new Error(`Step ${this.house.step.number}: ${failed} rides were not completed`);
    while (this.messages() > 0) await wait(5);
    const ms = performance.now() - began;
    const whole = [...tracesOf(this.house.ledgers, rides).values()].filter(isWhole).length;
    if (whole < howMany) throw new Error(`Step ${this.house.step.number}: ${howMany - whole} rides were not settled`);
    return (1000 * howMany) / ms;
  }

  /** The user's wait at the 99th percentile, in ms. @param slowMs how much longer invoicing takes */
  async p99(slowMs: number): Promise<number> {
    const rides = this.prepare(STEADY_RIDES);
    this.house.tellAll({ faults: { accounting: { slowMs } } });
    const answers = await this.users.steadily(rides, PER_SECOND);
    await comeToRest(this.house.step, this.house.ledgers);
    const failed = answers.filter((it) => !isSuccess(it)).length;
    if (failed > 0) throw new Error(`${failed} rides were not completed`);
    return percentile(
      answers.map(({ ms }) => ms),
      0.99,
    );
  }

  async close(): Promise<void> {
    await this.users.leave();
    await this.house.close();
  }

  private prepare(howMany: number) {
    const rides = manyRides(++this.runs, howMany);
    putUnderWay(this.house.ledgers, rides);
    return rides;
  }

  /** Messages on their way; the steps up to 2 have none. */
  private messages(): number {
    const { step, ledgers } = this.house;
    const tables = Object.entries(step.waiting).flatMap(([name, of]) => of.map((table) => [name, table] as const));
    const count = ([name, table]: readonly [string, string]) =>
      ledgers.named(name).prepare(`SELECT COUNT(*) FROM ${table}`).pluck().get() as number;
    return tables.reduce((sum, it) => sum + count(it), 0);
  }
}

/** The user's wait for `complete` over HTTP while what invoicing depends on is slow, against the same when it is not. */
export async function waiting(stand: Stand): Promise<Findings> {
  const stage = await Stage.open(stand, STEPS[APPLICATION]!, {
    NODE_OPTIONS: `--import=${AGENT}`,
    WORKSHOP_APPLICATION: INVOICING,
  });
  const values = await alternating(
    stand.rounds,
    () => stage.p99(0),
    () => stage.p99(SLOW_MS),
  );
  await stage.close();
  const [healthy, slow] = values.map(median) as [number, number];
  const what = `the user's wait for \`complete\`, p99, what invoicing depends on ${SLOW_MS} ms slow`;
  const against = `the same when healthy: ${healthy.toFixed(1)} ms`;
  return {
    rows: [ratioRow({ what, measured: `${slow.toFixed(1)} ms`, against }, slow / healthy, { atMost: 1.1 })],
    notes: `**The user's wait.** The compiled application over HTTP, ${STEADY_RIDES} users a round, ${PER_SECOND} a second, whether or not the earlier ones have been
answered. Each figure is the median of the rounds' 99th percentiles.`,
  };
}

/** Rides completed over HTTP and fully settled a second, against the workshop's steps 0, 1 and 2. */
export async function rides(stand: Stand): Promise<Findings> {
  const steps = [APPLICATION, 0, 1, 2].map((number) => STEPS[number]!);
  const stages: Stage[] = [];
  for (const step of steps) stages.push(await Stage.open(stand, step));
  const values = await alternating(stand.rounds, ...stages.map((stage) => () => stage.settle(RIDES)));
  await Promise.all(stages.map((stage) => stage.close()));
  const [mesh, ...others] = values.map(median) as [number, ...number[]];
  const row = (value: number, index: number): Row => {
    const step = steps[index + 1]!;
    const isAimed = step.number > 0;
    return {
      ...{ what: 'rides completed and fully settled, over HTTP', measured: perSecond(mesh) },
      ...{ against: `step ${step.number}, ${step.title}: ${perSecond(value)}`, ratio: (mesh / value).toFixed(2) },
      ...(isAimed ? { aim: 'ahead', isReached: mesh > value } : { aim: 'report' }),
    };
  };
  return {
    rows: others.map(row),
    notes: `**Rides.** ${RIDES} a round, ${USERS} users at a time, from the first request until no message is on its way and each ride has its fee, miles,
invoice, and a free driver. All steps run throughout, each with its processes, and are idle while another one is measured.`,
  };
}
