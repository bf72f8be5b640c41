import { setTimeout as wait } from 'node:timers/promises';
import type { House } from '../runner/step-processes.js';
import type { UnderWay } from '../runner/fixtures.js';
import type { Step } from '../runner/steps.js';
import type { Answer, Users } from './load.js';
import { comeToRest, deliverTwice } from './outcomes.js';

/** How much of it: rides under each fault. */
export interface Size {
  readonly none: number;
  readonly slow: number;
  readonly failing: number;
  readonly twice: number;
  readonly broker: number;
  /** Bursts that are cut off by a kill. */
  readonly kills: number;
  /** How long invoicing is down, and the load before and after it, in ms. */
  readonly outageMs: number;
  readonly aroundMs: number;
}

const OUTAGE = { outageMs: 5000, aroundMs: 1500 };

export const FULL: Size = { none: 200, slow: 100, failing: 1000, twice: 60, broker: 100, kills: 6, ...OUTAGE };
export const QUICK: Size = { none: 60, slow: 30, failing: 300, twice: 24, broker: 60, kills: 2, ...OUTAGE };

export const SLOW_MS = 200;
export const FAILING = 0.01;
/** Users that come in a second, where the fault doesn't say otherwise. */
export const PER_SECOND = 20;
/** Users who ask at the same time when the process is to be killed, and how many of them it gets to answer. */
const BURST = 16;
const ANSWERED_BEFORE_KILL = 5;

interface Stand {
  readonly house: House;
  readonly users: Users;
}

/** Something that goes wrong, and the load under which it does. */
export interface Fault {
  readonly name: string;
  /** In the table. */
  readonly title: string;
  /** Rides that it needs. */
  rides(size: Size): number;
  /** Why a step can't have it. */
  inapplicable?(step: Step): string | undefined;
  run(stand: Stand, rides: readonly UnderWay[], size: Size): Promise<Answer[]>;
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
    title: `invoicing is down for ${OUTAGE.outageMs / 1000} s`,
    rides: ({ outageMs, aroundMs }) => (PER_SECOND * (outageMs + 2 * aroundMs)) / 1000,
    run: async ({ house, users }, rides, { outageMs, aroundMs }) => {
      const load = users.steadily(rides, PER_SECOND);
      await wait(aroundMs);
      if (house.step.invoicing === house.step.completing) {
        house.tellAll({ faults: { accounting: { isDown: true } } });
        await wait(outageMs);
        house.tellAll({ faults: {} });
      } else {
        await house.away(house.step.invoicing, outageMs);
      }
      return load;
    },
  },
  {
    name: 'slow',
    title: `invoicing takes ${SLOW_MS} ms longer`,
    rides: ({ slow }) => slow,
    run: async ({ house, users }, rides) => {
      house.tellAll({ faults: { accounting: { slowMs: SLOW_MS } } });
      return users.steadily(rides, PER_SECOND);
    },
  },
  {
    name: 'failing',
    title: `every remote call fails with a probability of ${FAILING * 100} %`,
    rides: ({ failing }) => failing,
    inapplicable: ({ remote }) => (remote ? undefined : 'it makes no remote calls'),
    run: async ({ house, users }, rides) => {
      house.tellAll({ faults: { failing: FAILING } });
      return users.inTurn(rides, 8);
    },
  },
  {
    name: 'killed',
    title: 'the process that completes rides is killed in their midst',
    rides: ({ kills }) => kills * BURST,
    run: async ({ house, users }, rides) => {
      const answers: Answer[] = [];
      for (let from = 0; from < rides.length; from += BURST) {
        let answered = 0;
        const asked = rides.slice(from, from + BURST).map(async (ride) => {
          const answer = await users.complete(ride);
          if (++answered === ANSWERED_BEFORE_KILL) house.kill(house.step.completing);
          return answer;
        });
        answers.push(...(await Promise.all(asked)));
        await house.ready(house.step.completing);
      }
      return answers;
    },
  },
  {
    name: 'twice',
    title: 'every message arrives twice',
    rides: ({ twice }) => twice,
    inapplicable: ({ deliveries }) => (deliveries ? undefined : 'its messages, if it has any, are kept nowhere'),
    run: async ({ house, users }, rides) => {
      const end = deliverTwice(house.step, house.ledgers);
      const answers = await users.steadily(rides, PER_SECOND);
      await comeToRest(house.step, house.ledgers);
      end();
      return answers;
    },
  },
  {
    name: 'broker',
    title: 'the broker is killed',
    rides: ({ broker }) => broker,
    inapplicable: ({ broker }) => (broker ? undefined : 'it has no broker'),
    run: async ({ house, users }, rides) => {
      const load = users.steadily(rides, PER_SECOND);
      await wait((rides.length / PER_SECOND) * 400);
      house.kill(house.step.broker!);
      return load;
    },
  },
];

/** Those of `--quick`, beside a run in which nothing is wrong. */
export const QUICK_FAULTS = ['none', 'slow', 'killed', 'twice'];
