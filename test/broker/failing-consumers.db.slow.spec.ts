import { CommandBus, EventBus } from '@nestjs/cqrs';
import type { TestingModule } from '@nestjs/testing';
import type { ServerResponse } from 'node:http';
import { Relay } from '../../src/infrastructure/outbox/relay.js';
import { UnitOfWork } from '../../src/infrastructure/persistence/unit-of-work.js';
import { outboxStatistics } from '../../src/infrastructure/store/statistics.js';
import { eventually } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';
import { FakeBroker, status, type Posted } from '../support/fake-broker.js';
import { numbers } from '../support/notes.js';
import { Happened, plant, Settled, Work } from '../support/planted.js';

/* A synchronous broker answers when the consumers of a message have handled it, or after the last of their retries. */

/** What the publisher has in memory. */
interface Dispatcher {
  readonly queues: { readonly messages: { readonly count: number } };
}

describe.each(DATABASES)('Publishing to a synchronous broker on $kind', ({ fresh }) => {
  let app: TestingModule;
  let broker: FakeBroker;
  /** Requests that the broker doesn't answer yet: those for commands to `left`. */
  let open: ServerResponse[];
  let isHolding: boolean;

  beforeEach(async () => {
    [open, isHolding] = [[], true];
    broker = new FakeBroker();
    broker.answer = ({ event }, response) => {
      if (isHolding && event.type === Work.type) open.push(response);
      else response.writeHead(202).end();
    };
    await broker.open();
    ({ app } = await plant({ database: await fresh(), broker: { sink: broker.url } }, {}));
  });
  afterEach(async () => {
    release();
    await app.close();
    await broker.close();
  });

  const work = () => app.get(UnitOfWork);
  const key = (n: number) => `5f0c9a2e-1111-4222-8333-${String(n).padStart(12, '0')}`;
  const pending = async () => (await outboxStatistics(work().sql)).pending;
  const idle = () => eventually(pending, (count) => count === 0);
  const state = () => app.get(Relay).brokerState!;
  const posted = (type: string) => broker.posted.filter(({ event }) => event.type === type);
  const dataOf = ({ event }: Posted) => (event.data as { n: number }).n;
  const release = () => {
    isHolding = false;
    for (const response of open.splice(0)) response.writeHead(202).end();
  };
  const command = (n: number, k = n) => app.get(CommandBus).execute(new Work(key(k), { n }));
  const event = (n: number, k = n) => work().run(async () => app.get(EventBus).publish(new Happened(key(k), { n })));

  it('publishes events past 2000 commands to a consumer that doesn\u2019t answer, over a bounded number of sockets', async () => {
    for (const hundred of numbers(20)) {
      await work().run(async () => {
        for (const n of numbers(100)) await command(100 * hundred + n);
      });
    }
    await eventually(
      async () => open.length,
      (count) => count === 256,
    );
    for (const n of numbers(100)) await event(n);
    await eventually(
      async () => posted(Happened.type).length,
      (count) => count === 100,
    );
    expect(open).toHaveLength(256);
    const { messages } = (app.get(Relay)['dispatcher'] as unknown as Dispatcher).queues;
    expect(messages.count).toBeLessThanOrEqual(600);
    // They count as waiting when they are 250 ms old.
    const waiting = await eventually(
      async () => state().waiting,
      ({ requests }) => requests === 256,
    );
    expect(waiting.types).toEqual({ [Work.type]: 256 });
    expect(Date.parse(waiting.since!)).toBeLessThanOrEqual(Date.now());
    await eventually(pending, (count) => count === 2000);
    release();
    await idle();
    expect(new Set(posted(Work.type).map(dataOf)).size).toBe(2000);
    expect(posted(Work.type)).toHaveLength(2000);
    expect(state()).toEqual({ waiting: { requests: 0, types: {} } });
  }, 120_000);

  it('publishes without end events of one key that have different consumers', async () => {
    for (const round of numbers(16)) {
      await work().run(async () => {
        for (const n of numbers(50)) {
          await app.get(EventBus).publish(new Happened(key(n), { n: 2 * round }));
          await app.get(EventBus).publish(new Settled(key(n), { n: 2 * round + 1 }));
        }
      });
    }
    await idle();
    for (const n of numbers(50)) {
      const ofKey = broker.posted.filter(({ event: { subject } }) => subject === key(n));
      expect(ofKey.map(dataOf)).toEqual(numbers(32));
    }
  }, 60_000);

  it('lets no event overtake one of its key that waits for room of its consumers', async () => {
    broker.answer = ({ event: { type } }, response) => {
      if (isHolding && type === Happened.type) open.push(response);
      else response.writeHead(202).end();
    };
    for (const hundred of numbers(7)) {
      await work().run(async () => {
        for (const n of numbers(100)) await app.get(EventBus).publish(new Happened(key(100 * hundred + n), { n: 0 }));
      });
    }
    await eventually(
      async () => open.length,
      (count) => count === 256,
    );
    await work().run(async () => {
      for (const n of numbers(800)) await app.get(EventBus).publish(new Settled(key(n), { n: 1 }));
    });
    // Behind none of the 700 events that wait: 100 keys.
    await eventually(
      async () => posted(Settled.type).length,
      (count) => count >= 100,
    );
    const free = posted(Settled.type).map(({ event: { subject } }) => subject);
    expect(free.sort()).toEqual(numbers(100).map((n) => key(700 + n)));
    release();
    await idle();
    for (const n of numbers(700)) {
      const ofKey = broker.posted.filter(({ event: { subject } }) => subject === key(n));
      expect(ofKey.map(dataOf)).toEqual([0, 1]);
    }
  }, 120_000);

  it('keeps the order of a key among commands to one module, and among events', async () => {
    await command(0, 7);
    await eventually(
      async () => open.length,
      (count) => count === 1,
    );
    await command(1, 7);
    for (const n of numbers(5)) await event(n, 7);
    await eventually(
      async () => posted(Happened.type).length,
      (count) => count === 5,
    );
    expect(posted(Happened.type).map(dataOf)).toEqual(numbers(5));
    expect(posted(Work.type).map(dataOf)).toEqual([0]);
    release();
    await idle();
    expect(posted(Work.type).map(dataOf)).toEqual([0, 1]);
  });

  it('sends a command again after the 500 of a broker that could not deliver it, and holds up no other', async () => {
    broker.answer = ({ event: { type } }, response) =>
      setTimeout(() => response.writeHead(type === Work.type ? 500 : 202).end(), type === Work.type ? 400 : 0);
    for (const n of numbers(20)) await command(n);
    for (const n of numbers(20)) await event(n);
    await eventually(
      async () => posted(Happened.type).length,
      (count) => count === 20,
    );
    await eventually(
      async () => posted(Work.type).length,
      (count) => count >= 40,
    );
    expect(state()).toMatchObject({ waiting: expect.anything() });
    expect(state().unreachable).toBeUndefined();
    broker.answer = status(202);
    await idle();
  });

  it.each([404, 400])('is suspended by one message when the broker answers %i to all that it gets', async (code) => {
    broker.answer = status(code);
    await event(1);
    const reason = await eventually(
      async () => app.get(Relay).suspendedReason,
      (it) => it !== undefined,
    );
    expect(reason).toContain(`${code}`);
    expect(reason).toContain('K_SINK');
    expect(state()).toMatchObject({ refused: { reason: `The broker answered ${code}` } });
    expect(state().unreachable).toBeUndefined();
    broker.answer = status(202);
    await idle();
    expect(app.get(Relay).suspendedReason).toBeUndefined();
    expect(state()).toEqual({ waiting: { requests: 0, types: {} } });
  });

  it.each([401, 403])('says that the token is at fault when the broker answers %i', async (code) => {
    broker.answer = status(code);
    await event(1);
    const reason = await eventually(
      async () => app.get(Relay).suspendedReason,
      (it) => it !== undefined,
    );
    expect(reason).toContain('broker.tokenFile');
  });

  it('tells an unreachable broker from one that refuses', async () => {
    await broker.close();
    await event(1);
    await eventually(
      async () => state().unreachable?.attempts ?? 0,
      (count) => count >= 4,
    );
    expect(state().unreachable!.reason).toContain('ECONNREFUSED');
    expect(state().refused).toBeUndefined();
    expect(app.get(Relay).suspendedReason).toBeUndefined();
    await broker.open();
    await idle();
  });
});
