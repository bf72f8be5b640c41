import { setTimeout as wait } from 'node:timers/promises';
import type { Fault } from './fault.js';
import type { Random } from './random.js';

/* Faults that agent.mjs causes inside of processes. */

/** Random numbers for an agent, which uses them again and again. */
function randomNumbers(random: Random): number[] {
  return Array.from({ length: 499 }, () => random.next());
}

export const slow: Fault = {
  name: 'slow',
  title: 'consumers prepare for 0.2 to 2 s',
  run: async ({ applications }, random, ms) => {
    for (const one of applications) one.updateAgent({ slow: random.between(0.3, 1), randoms: randomNumbers(random) });
    await wait(ms);
    for (const one of applications) one.updateAgent({ slow: 0 });
  },
};

export const failing: Fault = {
  name: 'failing',
  title: 'three of ten attempts of a consumer fail, before its unit of work or at its end',
  run: async ({ applications }, random, ms) => {
    for (const one of applications) one.updateAgent({ fail: 0.3, randoms: randomNumbers(random) });
    await wait(ms);
    for (const one of applications) one.updateAgent({ fail: 0 });
  },
};

const HOUR_MS = 3_600_000;

export const clock: Fault = {
  name: 'clock',
  title: 'the clock of each process is set back and forth by up to an hour',
  run: async ({ services }, random, ms) => {
    const started = performance.now();
    while (performance.now() - started < ms) {
      const one = random.pick([...services.values()]);
      one.updateAgent({ offsetMs: Math.round(random.between(-HOUR_MS, HOUR_MS)) });
      await wait(random.between(200, 1500));
      if (random.chance(0.3)) one.updateAgent({ offsetMs: 0 });
    }
    for (const one of services.values()) one.updateAgent({ offsetMs: 0 });
  },
};
