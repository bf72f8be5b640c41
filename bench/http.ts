import { setTimeout as wait } from 'node:timers/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import pg from 'pg';
import { insert } from '../faults/databases.js';
import { Child } from '../tools/mesh-up/child.js';
import { freePort } from '../tools/ports.js';
import { ROOT } from '../tools/source.js';
import { SLOW_MS } from '../workshop/lab/faults.js';
import { isSuccess, Users } from '../workshop/lab/load.js';
import { comeToRest, isSettled, tracesOf } from '../workshop/lab/outcomes.js';
import { percentile } from '../workshop/lab/statistics.js';
import { StepProcesses } from '../workshop/runner/step-processes.js';
import { COMPILED, processPlanner } from '../workshop/runner/process-planner.js';
import { insertRides, manyRides, rideRows, type RideFixture } from '../workshop/runner/fixtures.js';
import { folderOf, stepNamed, STEPS, type Step } from '../workshop/runner/steps.js';
import {
  alternating,
  median,
  NO_POSTGRES,
  perSecond,
  ratioRow,
  type Findings,
  type Row,
  type Stand,
} from './rounds.js';

/** The application of src/, compiled, in one process with one database. */
const APPLICATION = stepNamed('application');
/** Rides of a round, and users who complete them at the same time. */
const [RIDES, USERS] = [400, 16];
/** Rides of a round in which users come in at a steady rate, and how many of them in a second. */
const [STEADY_RIDES, PER_SECOND] = [800, 80];
/** Rides that are completed before anything is measured. */
const WARM_UP = 200;
/** Of all processes that are measured over HTTP. */
const QUIET = { LOG_LEVEL: 'fatal' };
/** What it may take to start, in ms. */
const START_MS = 30_000;

const AGENT = pathToFileURL(join(ROOT, 'workshop/lab/agent.mjs')).href;
const INVOICING = pathToFileURL(join(ROOT, COMPILED, 'modules/invoicing/issue-invoice.js')).href;

/** A step that runs, and its users. */
class Stage {
  private readonly users: Users;
  private runs = 0;
  private ended = 0;

  private constructor(private readonly processes: StepProcesses) {
    this.users = new Users(processes.url);
  }

  static async open({ fresh }: Stand, step: Step, environment: Record<string, string> = {}): Promise<Stage> {
    // Processes of a step beside the first have their ports from ten above it on.
    const port = await freePort(20);
    const options = { data: fresh(), port, environment: { ...QUIET, ...environment } };
    const stage = new Stage(await StepProcesses.open(step, options));
    await stage.settle(WARM_UP);
    return stage;
  }

  /** Rides a second, from the first request until all that follows from the last one is done. */
  async settle(howMany: number): Promise<number> {
    const rides = this.prepare(howMany);
    const where = `Step ${this.processes.step.number}`;
    const ms = await endAndSettle(where, this.users, rides, async () => this.messages());
    const whole = [...tracesOf(this.processes.databases, rides).values()].filter(isSettled).length;
    if (whole < howMany) throw new Error(`${where}: ${howMany - whole} rides were not settled`);
    return (1000 * howMany) / ms;
  }

  /** The user's wait at the 99th percentile, in ms. @param slowMs how much longer invoicing takes */
  async p99(slowMs: number): Promise<number> {
    const rides = this.prepare(STEADY_RIDES);
    this.processes.broadcast({ faults: { accounting: { slowMs } } });
    const answers = await this.users.steadily(rides, PER_SECOND);
    await comeToRest(this.processes.step, this.processes.databases);
    const failed = answers.filter((it) => !isSuccess(it)).length;
    if (failed > 0) throw new Error(`${failed} rides were not completed`);
    return percentile(
      answers.map(({ ms }) => ms),
      0.99,
    );
  }

  /** Messages that have been handled for each ride since it was opened. */
  handledPerRide(): number {
    const handled = this.processes.databases
      .named('cabs')
      .prepare('SELECT COUNT(*) FROM mesh_inbox')
      .pluck()
      .get() as number;
    return handled / this.ended;
  }

  async close(): Promise<void> {
    await this.users.leave();
    await this.processes.close();
  }

  private prepare(howMany: number) {
    const rides = manyRides(++this.runs, howMany);
    this.ended += howMany;
    insertRides(this.processes.databases, rides);
    return rides;
  }

  /** Messages on their way; the steps up to 2 have none. */
  private messages(): number {
    const { step, databases } = this.processes;
    const tables = Object.entries(step.waiting).flatMap(([name, of]) => of.map((table) => [name, table] as const));
    const count = ([name, table]: readonly [string, string]) =>
      databases.named(name).prepare(`SELECT COUNT(*) FROM ${table}`).pluck().get() as number;
    return tables.reduce((sum, it) => sum + count(it), 0);
  }
}

/** From the first request until no message is on its way, in ms. @param messages how many are */
async function endAndSettle(
  where: string,
  users: Users,
  rides: RideFixture[],
  messages: () => Promise<number>,
): Promise<number> {
  const began = performance.now();
  const answers = await users.inTurn(rides, USERS);
  const failed = answers.filter((it) => !isSuccess(it)).length;
  if (failed > 0) throw new Error(`${where}: ${failed} rides were not completed`);
  while ((await messages()) > 0) await wait(5);
  return performance.now() - began;
}

/** The same application on PostgreSQL, and its users. */
class OnPostgres {
  private runs = 0;

  private constructor(
    private readonly child: Child,
    private readonly users: Users,
    private readonly database: string,
    private readonly client: pg.Client,
  ) {}

  static async open(database: string, data: string): Promise<OnPostgres> {
    const planner = processPlanner(folderOf(APPLICATION), data, await freePort());
    const planned = planner.application('cabs', { DATABASE_URL: database });
    const child = new Child(planned, { PATH: process.env.PATH, ...QUIET }, SILENT);
    const client = new pg.Client({ connectionString: database });
    const stage = new OnPostgres(child, new Users(planned.url), database, client);
    await child.start(START_MS);
    await client.connect();
    await stage.settle(WARM_UP);
    return stage;
  }

  /** As a stage does it. */
  async settle(howMany: number): Promise<number> {
    const rides = manyRides(++this.runs, howMany);
    for (const rows of rideRows(rides, 'modules')) await insert({ name: 'cabs', url: this.database }, rows);
    const ms = await endAndSettle('PostgreSQL', this.users, rides, () => this.count(ON_THEIR_WAY));
    const whole = await this.count(WHOLE, [rides.map(({ id }) => id)]);
    if (whole < howMany) throw new Error(`PostgreSQL: ${howMany - whole} rides were not settled`);
    return (1000 * howMany) / ms;
  }

  async close(): Promise<void> {
    await this.users.leave();
    await this.client.end();
    await this.child.end();
  }

  private async count(text: string, values: unknown[] = []): Promise<number> {
    return (await this.client.query<{ n: number }>({ text, values })).rows[0]!.n;
  }
}

const SILENT = { line: () => undefined, died: () => undefined, started: () => undefined };

const ON_THEIR_WAY = `SELECT (SELECT COUNT(*) FROM mesh_outbox)::int + (SELECT COUNT(*) FROM mesh_delivery)::int AS n`;

const WHOLE = `
  SELECT COUNT(*)::int AS n FROM rides_transit AS ride
  JOIN invoicing_invoice AS invoice ON invoice.transit_id = ride.id
  JOIN loyalty_miles AS miles ON miles.transit_id = ride.id
  JOIN drivers_occupancy AS occupancy ON occupancy.transit_id = ride.id AND occupancy.state = 'FREED'
  WHERE ride.id = ANY($1) AND ride.status = 'COMPLETED' AND ride.driver_fee IS NOT NULL`;

/** The user's wait for `complete` over HTTP while what invoicing depends on is slow, against the same when it is not. */
export async function waiting(stand: Stand): Promise<Findings> {
  const stage = await Stage.open(stand, APPLICATION, {
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

/** Rides completed over HTTP and fully settled a second, against the workshop's steps 0, 1 and 2; and on PostgreSQL. */
export async function rides(stand: Stand): Promise<Findings> {
  const steps = [APPLICATION, ...STEPS.slice(0, 3)];
  const stages: Stage[] = [];
  for (const step of steps) stages.push(await Stage.open(stand, step));
  const values = await alternating(stand.rounds, ...stages.map((stage) => () => stage.settle(RIDES)));
  const [application, ...otherStages] = stages as [Stage, ...Stage[]];
  await Promise.all(otherStages.map((stage) => stage.close()));
  const messages = application.handledPerRide();
  const onPostgres = await ridesOnPostgres(stand, application);
  await application.close();
  const [mesh, ...others] = values.map(median) as [number, ...number[]];
  const what = 'rides completed and fully settled, over HTTP';
  const row = (value: number, index: number): Row => {
    const step = steps[index + 1]!;
    const isAimed = step.number > 0;
    return {
      ...{ what, measured: perSecond(mesh) },
      ...{ against: `step ${step.number}, ${step.title}: ${perSecond(value)}`, ratio: (mesh / value).toFixed(2) },
      ...(isAimed ? { aim: 'ahead', isReached: mesh > value } : { aim: 'report' }),
    };
  };
  return {
    rows: [...others.map(row), { what: `${what}, PostgreSQL`, ...onPostgres, aim: 'report' }],
    notes: `**Rides.** They are in transit already: only their end is asked for, and ${messages.toFixed(messages % 1 ? 2 : 0)} messages are handled for each, as its inbox says.
${RIDES} a round, ${USERS} users at a time, from the first request until no message is on its way and each ride has its fee, miles,
invoice, and a free driver. All steps run throughout, each with its processes, and are idle while another one is measured. On PostgreSQL
it is the same application in one process with its pool of 10 connections; its rounds alternate with others of the application on
SQLite, when the steps are gone.`,
  };
}

async function ridesOnPostgres(
  { rounds, fresh, freshPostgres }: Stand,
  application: Stage,
): Promise<Pick<Row, 'measured' | 'against' | 'ratio'>> {
  if (!freshPostgres) return { measured: NO_POSTGRES, against: '' };
  const stage = await OnPostgres.open(await freshPostgres(), fresh());
  const values = await alternating(
    rounds,
    () => stage.settle(RIDES),
    () => application.settle(RIDES),
  );
  await stage.close();
  const [postgres, sqlite] = values.map(median) as [number, number];
  return {
    measured: perSecond(postgres),
    against: `on SQLite: ${perSecond(sqlite)}`,
    ratio: (postgres / sqlite).toFixed(2),
  };
}
