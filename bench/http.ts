import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ROOT } from '../tools/source.js';
import { SLOW_MS } from '../workshop/lab/faults.js';
import { percentile } from '../workshop/lab/statistics.js';
import { STEPS } from '../workshop/runner/steps.js';
import { PostgresTestBed } from './postgres-test-bed.js';
import {
  alternating,
  median,
  NO_POSTGRES,
  perSecond,
  ratioRow,
  type Findings,
  type Row,
  type TestBed,
} from './rounds.js';
import { PER_SECOND, STEADY_TRANSITS, StepTestBed } from './step-test-bed.js';
import { QUIET, USERS } from './transit-load.js';

/** The step that runs the compiled application in one process with one database. */
const APPLICATION = 7;
/** The step that runs it in one process over the laptop broker, which is another process. */
const KNATIVE = 8;
/** Transits of a round. */
const TRANSITS = 400;

const AGENT = pathToFileURL(join(ROOT, 'workshop/lab/agent.mjs')).href;
const INVOICING = pathToFileURL(join(ROOT, 'dist/src/modules/invoicing/issue-invoice.js')).href;

/** The user's wait for `complete` over HTTP with a slow dependency of invoicing, against the same with a fast one. */
export async function waiting(testBed: TestBed): Promise<Findings> {
  const stepBed = await StepTestBed.open(testBed, STEPS[APPLICATION]!, {
    NODE_OPTIONS: `${QUIET.NODE_OPTIONS ?? ''} --import=${AGENT}`,
    WORKSHOP_APPLICATION: INVOICING,
  });
  const values = await alternating(
    testBed.rounds,
    () => stepBed.waits(0),
    () => stepBed.waits(SLOW_MS),
  );
  await stepBed.close();
  const [healthyWaits, slowWaits] = values.map((of) => of.flat()) as [number[], number[]];
  const [healthy, slow] = [percentile(healthyWaits, 0.99), percentile(slowWaits, 0.99)];
  const [low, high] = intervalOfRatio(slowWaits, healthyWaits);
  const users = healthyWaits.length.toLocaleString('en');
  const what = `the user's wait for \`complete\`, p99, a dependency of invoicing ${SLOW_MS} ms slow`;
  const against = `the same with a fast dependency: ${healthy.toFixed(1)} ms`;
  return {
    rows: [ratioRow({ what, measured: `${slow.toFixed(1)} ms`, against }, slow / healthy, { atMost: 1.1 })],
    notes: `**The user's wait.** The compiled application over HTTP, ${STEADY_TRANSITS} users a round, ${PER_SECOND} per second, independently of earlier
answers: ${users} users with each dependency. With other users from the same distribution the ratio would be between ${low.toFixed(2)} and ${high.toFixed(2)}
in 95 of 100 runs (bootstrap).`,
  };
}

/** How often the waits are drawn again. */
const RESAMPLES = 500;

/** The 95 % interval of the ratio of two 99th percentiles, by the bootstrap method (Efron 1979). */
function intervalOfRatio(above: readonly number[], below: readonly number[]): [number, number] {
  const p99 = (values: readonly number[]) =>
    percentile(
      values.map(() => values[Math.floor(Math.random() * values.length)]!),
      0.99,
    );
  const ratios = Array.from({ length: RESAMPLES }, () => p99(above) / p99(below));
  return [percentile(ratios, 0.025), percentile(ratios, 0.975)];
}

/** Transits settled per second over HTTP, against the workshop's steps 0, 1 and 2, and on PostgreSQL. */
export async function rides(testBed: TestBed): Promise<Findings> {
  const steps = [APPLICATION, 0, 1, 2].map((number) => STEPS[number]!);
  const stepBeds: StepTestBed[] = [];
  for (const step of steps) stepBeds.push(await StepTestBed.open(testBed, step));
  const values = await alternating(testBed.rounds, ...stepBeds.map((stepBed) => () => stepBed.settle(TRANSITS)));
  const [application, ...otherBeds] = stepBeds as [StepTestBed, ...StepTestBed[]];
  await Promise.all(otherBeds.map((stepBed) => stepBed.close()));
  const messages = application.handledPerTransit();
  const onPostgres = await ridesOnPostgres(testBed, application);
  const overBroker = await ridesOverBroker(testBed, application);
  await application.close();
  const [mesh, ...others] = values.map(median) as [number, ...number[]];
  const what = 'rides completed and fully settled, over HTTP';
  const row = (value: number, index: number): Row => {
    const step = steps[index + 1]!;
    const against = `step ${step.number}, ${step.title}: ${perSecond(value)}`;
    return ratioRow({ what, measured: perSecond(mesh), against }, mesh / value, { atLeast: 1 });
  };
  return {
    rows: [...others.map(row), onPostgres, overBroker],
    notes: `**Rides.** The rides are in transit already, and users only complete them. By its inbox, the application handles ${messages.toFixed(messages % 1 ? 2 : 0)} messages for
each. ${TRANSITS} rides a round, ${USERS} users at a time, from the first request until no message is pending and each ride has its fee, miles,
invoice, and a free driver. All steps run throughout, each with its processes, and are idle while another one is measured. On PostgreSQL
the same application runs in one process with a pool of 10 connections; its rounds alternate with rounds of the application on
SQLite, after the steps have ended. Over the broker, the application publishes each message to the laptop broker (\`npm run mesh\`), a second
process with a database of its own, which posts it back to the consumers; a round ends when both have no message left.`,
  };
}

async function ridesOnPostgres(
  { rounds, newDatabasePath, newPostgresDatabase }: TestBed,
  application: StepTestBed,
): Promise<Row> {
  const what = 'rides completed and fully settled, over HTTP, PostgreSQL';
  if (!newPostgresDatabase) return { what, measured: NO_POSTGRES, against: '', aim: 'at least 0.7' };
  const stepBed = await PostgresTestBed.open(STEPS[APPLICATION]!, await newPostgresDatabase(), newDatabasePath());
  const values = await alternating(
    rounds,
    () => stepBed.settle(TRANSITS),
    () => application.settle(TRANSITS),
  );
  await stepBed.close();
  const [postgres, sqlite] = values.map(median) as [number, number];
  const against = `on SQLite: ${perSecond(sqlite)}`;
  return ratioRow({ what, measured: perSecond(postgres), against }, postgres / sqlite, { atLeast: 0.7 });
}

async function ridesOverBroker(testBed: TestBed, application: StepTestBed): Promise<Row> {
  const stepBed = await StepTestBed.open(testBed, STEPS[KNATIVE]!);
  const values = await alternating(
    testBed.rounds,
    () => stepBed.settle(TRANSITS),
    () => application.settle(TRANSITS),
  );
  await stepBed.close();
  const [broker, inProcess] = values.map(median) as [number, number];
  const what = 'rides over the broker (laptop), one process';
  const against = `in process: ${perSecond(inProcess)}`;
  return ratioRow({ what, measured: perSecond(broker), against }, broker / inProcess, { atLeast: 0.7 });
}
