import { setTimeout as wait } from 'node:timers/promises';
import { EventBus } from '@nestjs/cqrs';
import type { CloudEvent } from '../../src/infrastructure/cloudevents/cloud-event.js';
import { Reject } from '../../src/infrastructure/contracts/message.js';
import { eventually } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';
import { numbers } from '../support/notes.js';
import { Happened, type Behaviour } from '../support/planted.js';
import { PlantedMesh, TRANSPORTS } from '../support/transports.js';

const KEY = '5f0c9a2e-1111-4222-8333-944445555666';
const OTHER_KEY = '5f0c9a2e-1111-4222-8333-000000000000';

const EACH = DATABASES.flatMap(({ kind, fresh }) => TRANSPORTS.map((transport) => ({ kind, fresh, transport })));

describe.each(EACH)('The mesh, $transport, on $kind', ({ fresh, transport }) => {
  let mesh: PlantedMesh;

  const start = async (does: Partial<Behaviour> = {}) => {
    mesh = await new PlantedMesh(transport, fresh, does).start();
  };
  afterEach(() => mesh.stop());

  const effect = async (who: string, n: number) => {
    await mesh.work.sql.run('INSERT INTO left_effect (who, n) VALUES ($1, $2)', [who, n]);
  };
  const effects = () => mesh.work.sql.all<{ who: string; n: number }>('SELECT who, n FROM left_effect ORDER BY n, who');
  const deadLetters = () => mesh.deadLetters.list({}, { limit: 50, offset: 0 });

  it('delivers what was committed, and nothing that was rolled back', async () => {
    await start({ work: ({ data }) => effect('work', data.n) });
    const refused = mesh.work.run(async () => {
      await mesh.send(1, KEY);
      throw new Error('changed my mind');
    });
    await expect(refused).rejects.toThrow('changed my mind');
    await mesh.send(2, KEY);
    await mesh.idle();
    expect(await effects()).toEqual([{ who: 'work', n: 2 }]);
  });

  it('carries a journey from the command to the event and to each of its consumers', async () => {
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

  it('starts first attempts of a key in the order of its messages, and other keys beside', async () => {
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

  it('retries a consumer that fails on schedule, and neither delays nor repeats the others', async () => {
    const tries: number[] = [];
    let right = 0;
    await start({
      left: async () => {
        tries.push(performance.now());
        if (tries.length <= 3) throw new Error('not yet');
      },
      right: async () => void right++,
    });
    await mesh.publish(1, KEY);
    await eventually(
      async () => right,
      (times) => times === 1,
    );
    expect(tries.length).toBeLessThan(4);
    await eventually(
      async () => tries.length,
      (times) => times === 4,
    );
    await mesh.idle();
    expect([tries.length, right]).toEqual([4, 1]);
    // 100, 200 and 400 ms, in process a tenth more or less, and never early.
    const waits = tries.slice(1).map((at, index) => at - tries[index]!);
    for (const [index, least] of [88, 178, 358].entries()) expect(waits[index]).toBeGreaterThanOrEqual(least);
    expect(await deadLetters()).toEqual([]);
  });

  it('lets a message in backoff hold up nothing, not even of its own key', async () => {
    const order: number[] = [];
    await start({
      work: async ({ data }) => {
        order.push(data.n);
        if (data.n === 1 && order.filter((n) => n === 1).length < 3) throw new Error('not yet');
      },
    });
    for (const n of [1, 2, 3]) await mesh.send(n, KEY);
    await eventually(
      async () => order.filter((n) => n === 1).length,
      (times) => times === 3,
    );
    await mesh.idle();
    expect(order.filter((n, index) => order.indexOf(n) === index)).toEqual([1, 2, 3]);
    expect(order.indexOf(3)).toBeLessThan(order.lastIndexOf(1));
  });

  it('takes back what a failing handler wrote and sent, whenever it failed', async () => {
    let tries = 0;
    let right = 0;
    await start({
      work: async ({ subject, data }) => {
        await effect('work', data.n);
        mesh.left.get(EventBus).publish(new Happened(subject, { n: data.n }));
        if (++tries < 3) throw new Error('after all was done');
      },
      right: async () => void right++,
    });
    await mesh.send(1, KEY);
    await eventually(
      async () => right,
      (times) => times === 1,
    );
    await mesh.idle();
    expect([tries, right]).toEqual([3, 1]);
    expect(await effects()).toEqual([{ who: 'work', n: 1 }]);
  });

  it('handles once what is sent twice, by each of its consumers', async () => {
    let right = 0;
    await start({ work: ({ data }) => effect('work', data.n), right: async () => void right++ });
    const event = (type: string): CloudEvent => ({
      ...{ specversion: '1.0', id: crypto.randomUUID(), source: 'usvc://planted/left', type, subject: KEY },
      ...{ datacontenttype: 'application/json', partitionkey: KEY, data: { n: 1 } },
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

  it('puts a poison message among the dead letters, and replays it to its consumer alone', async () => {
    let poisoned = true;
    let right = 0;
    await start({
      left: async ({ data }) => {
        if (poisoned) throw new Error(`no good: ${data.n}`);
        await effect('left', data.n);
      },
      right: async () => void right++,
    });
    await mesh.publish(1, KEY);
    await mesh.publish(2, KEY);
    const letters = await eventually(deadLetters, (all) => all.length === 2, 20_000);
    await mesh.idle();
    expect(letters.map(({ consumer, type, subject }) => ({ consumer, type, subject }))).toEqual(
      Array(2).fill({ consumer: 'left', type: 'planted.left.happened', subject: KEY }),
    );
    expect(letters.map(({ error }) => error).join()).toContain('Error: no good: 1');
    expect(right).toBe(2);

    poisoned = false;
    expect(await mesh.deadLetters.requeue(letters[0]!.id, false)).toBe(true);
    await eventually(effects, (all) => all.length === 1);
    expect(await mesh.deadLetters.requeueAll({ consumer: 'left' }, false)).toBe(1);
    await eventually(effects, (all) => all.length === 2);
    await mesh.idle();
    expect(right).toBe(2);
    expect(await deadLetters()).toEqual([]);
  });

  it('asks a handler that rejects not again', async () => {
    let tries = 0;
    await start({
      work: async () => {
        tries++;
        throw new Reject('never');
      },
    });
    await mesh.send(1, KEY);
    const [letter] = await eventually(deadLetters, (all) => all.length === 1);
    expect(letter!.error).toContain('never');
    await mesh.idle();
    expect(tries).toBe(1);
  });

  it('goes on after a restart with what was pending', async () => {
    let isDown = true;
    await start({
      work: async ({ data }) => {
        if (isDown) throw new Error('down');
        await effect('work', data.n);
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
    it('goes on when the broker has been away', async () => {
      await start({ work: ({ data }) => effect('work', data.n) });
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
});
