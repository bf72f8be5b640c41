import { setTimeout as wait } from 'node:timers/promises';
import { CommandBus } from '@nestjs/cqrs';
import type { TestingModule } from '@nestjs/testing';
import { Relay } from '../../src/infrastructure/outbox/relay.js';
import { UnitOfWork } from '../../src/infrastructure/persistence/unit-of-work.js';
import { eventually } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';
import { numbers } from '../support/notes.js';
import { plant, Work } from '../support/planted.js';

/** Messages that the dispatcher moves at a time. */
const BATCH = 500;

describe.each(DATABASES)('The age of the backlog on $kind', ({ fresh }) => {
  let app: TestingModule;
  let runs: number;

  const start = async (handle: () => void) => {
    runs = 0;
    const work = async () => {
      runs++;
      handle();
    };
    ({ app } = await plant(
      { database: await fresh(), delivery: { retry: 20, backoffPolicy: 'linear', backoffDelayMs: 100 } },
      { work },
    ));
  };
  afterEach(() => app.close());

  const send = (count: number) =>
    app.get(UnitOfWork).run(async () => {
      for (const n of numbers(count)) await app.get(CommandBus).execute(new Work(crypto.randomUUID(), { n }));
    });
  const age = () => app.get(Relay).backlogAgeMs;

  it('grows while messages pile up, and is 0 when they are handled', async () => {
    await start(() => undefined);
    let oldest = 0;
    const watch = setInterval(() => (oldest = Math.max(oldest, age())), 1);
    for (let n = 0; n < 6; n++) await send(BATCH);
    await eventually(
      async () => runs,
      (it) => it >= 6 * BATCH,
    );
    clearInterval(watch);
    expect(oldest).toBeGreaterThan(0);
    await eventually(
      async () => age(),
      (it) => it === 0,
    );
    // Another batch, exactly as large as one that is moved at a time.
    await send(BATCH);
    await eventually(
      async () => runs,
      (it) => it >= 7 * BATCH,
    );
    await wait(1500);
    expect(age()).toBe(0);
  });

  it('stays small while the consumer fails: its messages wait for that to end', async () => {
    await start(() => {
      throw new Error('not now');
    });
    await send(2 * BATCH);
    await eventually(
      async () => runs,
      (it) => it > 200,
    );
    for (let n = 0; n < 10; n++) {
      // Moving messages to the deliveries may take a moment.
      expect(age()).toBeLessThan(900);
      await wait(100);
    }
    expect(age()).toBe(0);
  });
});
