import { setTimeout as wait } from 'node:timers/promises';
import { EventBus } from '@nestjs/cqrs';
import type { CloudEvent } from '../../src/infrastructure/cloudevents/cloud-event.js';
import { Reject } from '../../src/infrastructure/contracts/message.js';
import { eventually } from '../support/cabs.js';
import { DATABASES, type DatabaseKind } from '../support/databases.js';
import { numbers } from '../support/notes.js';
import { Happened, Work, type Behaviour } from '../support/planted.js';
import { selected } from '../support/thorough.js';
import { PlantedMesh, ROUTES, type Route } from '../support/transports.js';

const KEY = '5f0c9a2e-1111-4222-8333-944445555666';
const OTHER_KEY = '5f0c9a2e-1111-4222-8333-000000000000';

type Place = Pick<DatabaseKind, 'kind' | 'fresh'> & Route;

/** All routes on all databases. */
const PLACES: readonly Place[] = DATABASES.flatMap(({ kind, fresh }) => ROUTES.map((it) => ({ kind, fresh, ...it })));

/** The places of `npm test`. */
const isQuick = ({ kind, transport, channel }: Place) =>
  transport === 'in-process' || (kind === 'sqlite' && transport === 'knative' && channel === 'synchronous');
export const QUICK_PLACES = PLACES.filter(isQuick);
/** The places of `npm run test:slow`. */
export const SLOW_PLACES = selected(
  PLACES.filter((it) => !isQuick(it)),
  ({ kind, transport }) => (kind === 'postgres') === (transport === 'split') || transport === 'in-process',
);

/** Declares the tests that hold on every route. */
export function testTransports(places: readonly Place[]): void {
  describe.each(places)('The mesh, $route, on $kind', testTransport);
}

function testTransport({ fresh, ...route }: Place): void {
  const { transport, channel } = route;
  let mesh: PlantedMesh;

  const start = async (handlers: Partial<Behaviour> = {}) => {
    mesh = await new PlantedMesh(route, fresh, handlers).start();
  };
  afterEach(() => mesh.stop());

  const insertEffect = async (who: string, n: number) => {
    await mesh.work.sql.run('INSERT INTO left_effect (who, n) VALUES ($1, $2)', [who, n]);
  };
  const effects = () => mesh.work.sql.all<{ who: string; n: number }>('SELECT who, n FROM left_effect ORDER BY n, who');
  const deadLetters = () => mesh.deadLetters.list({}, { limit: 50, offset: 0 });

  it('delivers messages of committed units of work, and none of a unit that was rolled back', async () => {
    await start({ work: ({ data }) => insertEffect('work', data.n) });
    const rolledBack = mesh.work.run(async () => {
      await mesh.send(1, KEY);
      throw new Error('roll back');
    });
    await expect(rolledBack).rejects.toThrow('roll back');
    await mesh.send(2, KEY);
    await mesh.idle();
    expect(await effects()).toEqual([{ who: 'work', n: 2 }]);
  });

  it('delivers a command, the event of its handler, and that event to each of its consumers', async () => {
    const seen: string[] = [];
    await start({
      work: async ({ subject, data }) => mesh.left.get(EventBus).publish(new Happened(subject, { n: data.n + 1 })),
      left: async ({ subject, data }) => void seen.push(`left ${subject} ${data.n}`),
      right: async ({ subject, data }) => void seen.push(`right ${subject} ${data.n}`),
    });
    await mesh.send(6, KEY);
    await mesh.idle();
    expect(seen.sort()).toEqual([`left ${KEY} 7`, `right ${KEY} 7`]);
  });

  it('refuses a module that the contract does not name as sender, and an event with a source that it does not name', async () => {
    const seen: number[] = [];
    await start({ work: async ({ data }) => void seen.push(data.n) });
    await expect(mesh.sendFromRight(1, KEY)).rejects.toThrow(
      /^right may not send planted\.left\.work of left, only left, .*: add right to its sentBy in the contract of left$/,
    );
    const event = (source: string, n: number): CloudEvent => {
      return { specversion: '1.0', id: `${n}`, source, type: Work.type, subject: KEY, partitionkey: KEY, data: { n } };
    };
    await mesh.sendAgain(event('usvc://planted/right', 2));
    await mesh.sendAgain(event('usvc://elsewhere/left', 3));
    await mesh.sendAgain(event('usvc://planted/left', 4));
    await eventually(deadLetters, ({ length }) => length === 2);
    await mesh.idle();
    expect(seen).toEqual([4]);
    const refused = (await deadLetters()).map(({ error }) => error).sort();
    expect(refused).toMatchObject(
      ['elsewhere/left', 'planted/right'].map((it) => expect.stringContaining(it) as string),
    );
  });

  // An asynchronous channel promises no order.
  const itInOrder = channel === 'asynchronous' ? it.skip : it;
  itInOrder('starts the first attempts of each partition key in the order of its messages', async () => {
    const started: Record<string, number[]> = { [KEY]: [], [OTHER_KEY]: [] };
    await start({
      prepare: async ({ subject, data }) => {
        started[subject]!.push(data.n);
        await wait(subject === KEY && data.n === 0 ? 100 : Math.random() * 3);
      },
    });
    for (let n = 0; n < 25; n++) {
      await mesh.send(n, KEY);
      await mesh.send(n, OTHER_KEY);
    }
    await mesh.idle();
    expect(started).toEqual({ [KEY]: numbers(25), [OTHER_KEY]: numbers(25) });
  });

  it('retries a failing consumer on schedule, without delaying or repeating the message for other consumers', async () => {
    const attempts: number[] = [];
    /** For each call of `right`: the attempts of `left` so far. */
    const attemptsBeforeRight: number[] = [];
    await start({
      left: async () => {
        attempts.push(performance.now());
        if (attempts.length <= 3) throw new Error('not yet');
      },
      right: async () => void attemptsBeforeRight.push(attempts.length),
    });
    await mesh.publish(1, KEY);
    await eventually(
      async () => attempts.length + attemptsBeforeRight.length,
      (times) => times >= 5,
    );
    await mesh.idle();
    expect([attempts.length, attemptsBeforeRight.length]).toEqual([4, 1]);
    expect(attemptsBeforeRight[0]).toBeLessThan(4);
    // 100, 200 and 400 ms. In process with a jitter of a tenth.
    const waits = attempts.slice(1).map((at, index) => at - attempts[index]!);
    for (const [index, minimum] of [88, 178, 358].entries()) expect(waits[index]).toBeGreaterThanOrEqual(minimum);
    expect(await deadLetters()).toEqual([]);
  });

  // A synchronous channel has not accepted the message before all its retries, so the next one of the key waits.
  const itDuringRetries = channel === 'synchronous' ? it.skip : it;
  itDuringRetries('delivers later messages of the same partition key while one waits for a retry', async () => {
    const order: number[] = [];
    await start({
      work: async ({ data }) => {
        order.push(data.n);
        // Four retries take 1.5 s: as long as that message 3 has to be handled.
        if (data.n === 1 && (order.filter((n) => n === 1).length < 3 || !order.includes(3))) throw new Error('not yet');
      },
    });
    await mesh.work.run(async () => {
      for (const n of [1, 2, 3]) await mesh.send(n, KEY);
    });
    await mesh.idle();
    expect(await deadLetters()).toEqual([]);
    expect(order.filter((n) => n === 1).length).toBeGreaterThanOrEqual(3);
    const firsts = order.filter((n, index) => order.indexOf(n) === index);
    expect(channel === 'asynchronous' ? firsts.toSorted() : firsts).toEqual([1, 2, 3]);
    expect(order.indexOf(3)).toBeLessThan(order.lastIndexOf(1));
  });

  it('rolls back the rows and messages of a handler that fails at its end', async () => {
    let attempts = 0;
    let right = 0;
    await start({
      work: async ({ subject, data }) => {
        await insertEffect('work', data.n);
        mesh.left.get(EventBus).publish(new Happened(subject, { n: data.n }));
        if (++attempts < 3) throw new Error('not yet');
      },
      right: async () => void right++,
    });
    await mesh.send(1, KEY);
    await eventually(
      async () => right,
      (times) => times === 1,
    );
    await mesh.idle();
    expect([attempts, right]).toEqual([3, 1]);
    expect(await effects()).toEqual([{ who: 'work', n: 1 }]);
  });

  it('handles an event that is sent repeatedly once for each consumer', async () => {
    let right = 0;
    await start({ work: ({ data }) => insertEffect('work', data.n), right: async () => void right++ });
    const event = (type: string): CloudEvent => ({
      specversion: '1.0',
      id: crypto.randomUUID(),
      source: 'usvc://planted/left',
      type,
      subject: KEY,
      datacontenttype: 'application/json',
      partitionkey: KEY,
      data: { n: 1 },
    });
    const [command, happened] = [event('planted.left.work'), event('planted.left.happened')];
    for (let times = 0; times < 5; times++) {
      await mesh.sendAgain(command);
      await mesh.sendAgain(happened);
    }
    await mesh.idle();
    await mesh.sendAgain(command);
    await mesh.idle();
    expect(right).toBe(1);
    expect(await effects()).toEqual([{ who: 'work', n: 1 }]);
  });

  it('dead-letters a poison message, and requeues it for its consumer only', async () => {
    let poisoned = true;
    let right = 0;
    await start({
      left: async ({ data }) => {
        if (poisoned) throw new Error(`no good: ${data.n}`);
        await insertEffect('left', data.n);
      },
      right: async () => void right++,
    });
    await mesh.publish(1, KEY);
    await mesh.publish(2, KEY);
    const letters = await eventually(deadLetters, (all) => all.length === 2);
    await mesh.idle();
    expect(letters.map(({ consumer, type, subject }) => ({ consumer, type, subject }))).toEqual(
      Array(2).fill({ consumer: 'left', type: 'planted.left.happened', subject: KEY }),
    );
    expect(letters.map(({ error }) => error).join()).toContain('Error: no good: 1');
    expect(right).toBe(2);

    poisoned = false;
    expect(await mesh.deadLetters.requeue(letters[0]!.id, false)).toBe(true);
    await eventually(effects, (all) => all.length === 1);
    expect(await mesh.deadLetters.requeueAll({ consumer: 'left' }, false)).toEqual({ replayed: 1, skipped: [] });
    await eventually(effects, (all) => all.length === 2);
    await mesh.idle();
    expect(right).toBe(2);
    expect(await deadLetters()).toEqual([]);
  });

  it('does not retry a message that its handler rejects', async () => {
    let attempts = 0;
    await start({
      work: async () => {
        attempts++;
        throw new Reject('never');
      },
    });
    await mesh.send(1, KEY);
    const [letter] = await eventually(deadLetters, (all) => all.length === 1);
    expect(letter!.error).toContain('never');
    await mesh.idle();
    expect(attempts).toBe(1);
  });

  it('delivers pending messages after a restart', async () => {
    let isDown = true;
    await start({
      work: async ({ data }) => {
        if (isDown) throw new Error('down');
        await insertEffect('work', data.n);
      },
    });
    for (const n of numbers(20)) await mesh.send(n, KEY);
    await mesh.stop();
    isDown = false;
    await mesh.start();
    await mesh.idle();
    expect((await effects()).map(({ n }) => n)).toEqual(numbers(20));
    expect(await deadLetters()).toEqual([]);
  });

  if (transport !== 'in-process') {
    it('delivers messages that were sent while the broker was down', async () => {
      await start({ work: ({ data }) => insertEffect('work', data.n) });
      await mesh.send(0, KEY);
      await mesh.idle();
      await mesh.stopBroker();
      for (const n of numbers(20)) await mesh.send(n + 1, KEY);
      await wait(300);
      await mesh.startBroker();
      await mesh.idle();
      expect((await effects()).map(({ n }) => n)).toEqual(numbers(21));
    });
  }
}
