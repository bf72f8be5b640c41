import { setTimeout as wait } from 'node:timers/promises';
import type { Fault } from './fault.js';
import type { Random } from './random.js';

/* What the agent does inside of processes. */

/** Chance for an agent, to be played again and again. */
function tape(random: Random): number[] {
  return Array.from({ length: 499 }, () => random.next());
}

export const slow: Fault = {
  name: 'slow',
  title: 'consumers prepare for 0.2 to 2 s',
  run: async ({ applications }, random, ms) => {
    for (const one of applications) one.tell({ slow: random.between(0.3, 1), tape: tape(random) });
    await wait(ms);
    for (const one of applications) one.tell({ slow: 0 });
  },
};

export const failing: Fault = {
  name: 'failing',
  title: 'three of ten tries of a consumer fail, before its unit of work or at its end',
  run: async ({ applications }, random, ms) => {
    for (const one of applications) one.tell({ fail: 0.3, tape: tape(random) });
    await wait(ms);
    for (const one of applications) one.tell({ fail: 0 });
  },
};

const HOUR_MS = 3_600_000;

export const clock: Fault = {
  name: 'clock',
  title: 'clocks step back and forth by up to an hour, each process its own',
  run: async ({ members }, random, ms) => {
    const started = performance.now();
    while (performance.now() - started < ms) {
      const one = random.pick([...members.values()]);
      one.tell({ offsetMs: Math.round(random.between(-HOUR_MS, HOUR_MS)) });
      await wait(random.between(200, 1500));
      if (random.chance(0.3)) one.tell({ offsetMs: 0 });
    }
    for (const one of members.values()) one.tell({ offsetMs: 0 });
  },
};
