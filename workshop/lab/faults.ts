import { setTimeout as wait } from 'node:timers/promises';
import type { RideFixture } from '../runner/fixtures.js';
import type { StepProcesses } from '../runner/step-processes.js';
import type { Step } from '../runner/steps.js';
import type { Answer, Users } from './load.js';
import { comeToRest, deliverTwice } from './outcomes.js';

/** The size of a run: rides under each fault, and the times around an outage. */
export interface Size {
  readonly none: number;
  readonly slow: number;
  readonly failing: number;
  readonly twice: number;
  readonly broker: number;
  /** Bursts of users, each of which a kill interrupts. */
  readonly kills: number;
  /** How long invoicing is down, in ms. */
  readonly outageMs: number;
  /** Load before the outage, and again after it, in ms. */
  readonly aroundMs: number;
}

const OUTAGE_MS = 5000;
const AROUND_MS = 1500;

export const FULL: Size = {
  none: 200,
  slow: 100,
  failing: 1000,
  twice: 60,
  broker: 100,
  kills: 6,
  outageMs: OUTAGE_MS,
  aroundMs: AROUND_MS,
};
export const QUICK: Size = {
  none: 60,
  slow: 30,
  failing: 300,
  twice: 24,
  broker: 60,
  kills: 2,
  outageMs: OUTAGE_MS,
  aroundMs: AROUND_MS,
};

/** How much longer invoicing takes under the fault `slow`, in ms. */
export const SLOW_MS = 200;
/** The probability with which a remote call fails under the fault `failing`. */
export const FAILING = 0.01;
/** Users who come in a second, unless the fault says otherwise. */
export const PER_SECOND = 20;
/** Users who ask at the same time when the process is to be killed. */
const BURST = 16;
/** The process is killed when it has answered so many of them. */
const ANSWERED_BEFORE_KILL = 5;

interface RunningStep {
  readonly processes: StepProcesses;
  readonly users: Users;
}

/** A fault, and the load under which it is injected. */
export interface Fault {
  readonly name: string;
  /** For the tables: what goes wrong. */
  readonly title: string;
  /** How many rides the fault needs. */
  rides(size: Size): number;
  /** Why a step can't have the fault. */
  inapplicable?(step: Step): string | undefined;
  /** Injects the fault while users complete the rides. */
  run(step: RunningStep, rides: readonly RideFixture[], size: Size): Promise<Answer[]>;
}

export const FAULTS: readonly Fault[] = [
  {
    name: 'none',
    title: 'nothing is wrong',
    rides: ({ none }) => none,
    run: ({ users }, rides) => users.steadily(rides, PER_SECOND),
  },
  {
    name: 'down',
    title: `invoicing is down for ${OUTAGE_MS / 1000} s`,
    rides: ({ outageMs, aroundMs }) => (PER_SECOND * (outageMs + 2 * aroundMs)) / 1000,
    run: async ({ processes, users }, rides, { outageMs, aroundMs }) => {
      const load = users.steadily(rides, PER_SECOND);
      await wait(aroundMs);
      if (processes.step.invoicing === processes.step.completing) {
        processes.broadcast({ faults: { accounting: { isDown: true } } });
        await wait(outageMs);
        processes.broadcast({ faults: {} });
      } else {
        await processes.killFor(processes.step.invoicing, outageMs);
      }
      return load;
    },
  },
  {
    name: 'slow',
    title: `invoicing takes ${SLOW_MS} ms longer`,
    rides: ({ slow }) => slow,
    run: async ({ processes, users }, rides) => {
      processes.broadcast({ faults: { accounting: { slowMs: SLOW_MS } } });
      return users.steadily(rides, PER_SECOND);
    },
  },
  {
    name: 'failing',
    title: `every remote call fails with a probability of ${FAILING * 100} %`,
    rides: ({ failing }) => failing,
    inapplicable: ({ remote }) => (remote ? undefined : 'it makes no remote calls'),
    run: async ({ processes, users }, rides) => {
      processes.broadcast({ faults: { failing: FAILING } });
      return users.inTurn(rides, 8);
    },
  },
  {
    name: 'killed',
    title: 'the process that completes rides is killed while it works',
    rides: ({ kills }) => kills * BURST,
    run: async ({ processes, users }, rides) => {
      const answers: Answer[] = [];
      for (let from = 0; from < rides.length; from += BURST) {
        let answered = 0;
        const asked = rides.slice(from, from + BURST).map(async (ride) => {
          const answer = await users.complete(ride);
          if (++answered === ANSWERED_BEFORE_KILL) processes.kill(processes.step.completing);
          return answer;
        });
        answers.push(...(await Promise.all(asked)));
        await processes.ready(processes.step.completing);
      }
      return answers;
    },
  },
  {
    name: 'twice',
    title: 'every message arrives twice',
    rides: ({ twice }) => twice,
    inapplicable: ({ deliveries }) => (deliveries ? undefined : 'it stores no messages'),
    run: async ({ processes, users }, rides) => {
      const end = deliverTwice(processes.step, processes.databases);
      const answers = await users.steadily(rides, PER_SECOND);
      await comeToRest(processes.step, processes.databases);
      end();
      return answers;
    },
  },
  {
    name: 'broker',
    title: 'the broker is killed',
    rides: ({ broker }) => broker,
    inapplicable: ({ broker }) => (broker ? undefined : 'it has no broker'),
    run: async ({ processes, users }, rides) => {
      const load = users.steadily(rides, PER_SECOND);
      await wait((rides.length / PER_SECOND) * 400);
      processes.kill(processes.step.broker!);
      return load;
    },
  },
];

/** The faults of `--quick`. */
export const QUICK_FAULTS = ['none', 'slow', 'killed', 'twice'];
