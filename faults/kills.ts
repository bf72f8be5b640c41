import { setTimeout as wait } from 'node:timers/promises';
import type { Fault } from './fault.js';

/* Faults of processes: killed, stopped, or frozen. */

export const killed: Fault = {
  name: 'killed',
  title: 'processes are killed at random instants, also while they start',
  run: async ({ services }, random, ms) => {
    const started = performance.now();
    while (performance.now() - started < ms) {
      await wait(random.between(50, 1200));
      random.pick([...services.values()].filter(({ isProtected }) => !isProtected)).kill();
    }
  },
};

export const rolling: Fault = {
  name: 'rolling',
  title: 'each process is stopped by SIGTERM, and started again',
  run: async (testBed, random) => {
    for (const service of random.shuffled([...testBed.services.values()])) {
      await service.ready(30_000).catch(() => undefined);
      await testBed.stopGracefully(service);
      service.start();
      await wait(random.between(0, 500));
    }
  },
};

export const brokerKilled: Fault = {
  name: 'broker-killed',
  title: 'the broker is killed again and again',
  inapplicable: ({ hasBroker }) => (hasBroker ? undefined : 'this combination has no broker'),
  run: async ({ services }, random, ms) => {
    const broker = services.get('broker')!;
    const started = performance.now();
    while (performance.now() - started < ms) {
      broker.kill();
      // A short wait kills it while it starts.
      await wait(random.between(300, 4000));
    }
  },
};

export const postgresKilled: Fault = {
  name: 'postgres-killed',
  title: 'PostgreSQL is killed with all its processes, and restarts on the same data',
  hindersStart: true,
  inapplicable: ({ database }) => (database === 'postgres' ? undefined : 'this combination uses SQLite'),
  run: async (testBed, random, ms) => {
    const started = performance.now();
    while (performance.now() - started < ms) {
      if (random.chance(0.3)) {
        testBed.postgres!.stopImmediately();
      } else {
        testBed.postgres!.killNow();
        testBed.postgresKills++;
      }
      await wait(random.between(1500, 4000));
    }
    await testBed.postgres!.ready(60_000);
  },
};

/** How long a process is frozen, in ms: longer than its lease, so that another process takes over. */
const FROZEN_MS = [9000, 13_000] as const;

export const frozen: Fault = {
  name: 'frozen',
  title: 'one of several processes is frozen for longer than its lease, and runs on',
  inapplicable: ({ transport }) => (transport === 'replicas' ? undefined : 'this combination has no replicas'),
  weight: 3,
  run: async ({ applications }, random) => {
    const service = random.pick(applications);
    // A process that is killed while it is frozen would not run on with an expired lease.
    service.isProtected = true;
    // A process that has not started holds no lease.
    await service.ready(10_000).catch(() => undefined);
    service.freeze();
    await wait(random.between(...FROZEN_MS));
    const goesOn = service.resume();
    service.isProtected = false;
    return goesOn ? undefined : false;
  },
};
