import { setTimeout as wait } from 'node:timers/promises';
import type { Fault } from './fault.js';

/* Processes that end: killed, asked to, or standing still. */

export const killed: Fault = {
  name: 'killed',
  title: 'processes are killed at random instants, also while they start',
  run: async ({ members }, random, ms) => {
    const started = performance.now();
    while (performance.now() - started < ms) {
      await wait(random.between(50, 1200));
      random.pick([...members.values()].filter(({ isSpared }) => !isSpared)).kill();
    }
  },
};

export const rolling: Fault = {
  name: 'rolling',
  title: 'each process is asked to end, and started again',
  run: async (stand, random) => {
    for (const member of random.shuffled([...stand.members.values()])) {
      await member.ready(30_000).catch(() => undefined);
      await stand.endOrderly(member);
      member.start();
      await wait(random.between(0, 500));
    }
  },
};

export const brokerKilled: Fault = {
  name: 'broker-killed',
  title: 'the broker is killed, and is away for a while',
  inapplicable: ({ hasBroker }) => (hasBroker ? undefined : 'there is none'),
  run: async ({ members }, random, ms) => {
    const broker = members.get('broker')!;
    const started = performance.now();
    while (performance.now() - started < ms) {
      broker.kill();
      // Also while it starts.
      await wait(random.between(300, 4000));
    }
  },
};

export const postgresKilled: Fault = {
  name: 'postgres-killed',
  title: 'PostgreSQL is killed with all its processes, and starts on the same data',
  hindersStarting: true,
  inapplicable: ({ database }) => (database === 'postgres' ? undefined : 'it is on SQLite'),
  run: async (stand, random, ms) => {
    const started = performance.now();
    while (performance.now() - started < ms) {
      if (random.chance(0.3)) {
        stand.postgres!.stopImmediately();
      } else {
        stand.postgres!.killNow();
        stand.postgresKills++;
      }
      await wait(random.between(1500, 4000));
    }
    await stand.postgres!.ready(60_000);
  },
};

/** For longer than another process waits before it takes over, in ms. */
const FROZEN_MS = [9000, 13_000] as const;

export const frozen: Fault = {
  name: 'frozen',
  title: 'one of several processes stands still for longer than its lease, and goes on',
  inapplicable: ({ transport }) => (transport === 'replicas' ? undefined : 'there is one of each'),
  share: 3,
  run: async ({ applications }, random) => {
    const one = random.pick(applications);
    // It has to go on, or it could as well be dead.
    one.isSpared = true;
    // While it starts it holds no lease.
    await one.ready(10_000).catch(() => undefined);
    one.stopTime();
    await wait(random.between(...FROZEN_MS));
    const goesOn = one.letTimeGoOn();
    one.isSpared = false;
    return goesOn ? undefined : false;
  },
};
