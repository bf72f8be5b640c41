import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:http';
import { Logger, Module, type INestApplication, type Type } from '@nestjs/common';
import { CommandBus, CommandHandler, EventBus, EventsHandler } from '@nestjs/cqrs';
import { Test } from '@nestjs/testing';
import { z } from 'zod';
import type { CloudEvent } from '../../src/infrastructure/cloudevents/cloud-event.js';
import { HTTP } from '../../src/infrastructure/cloudevents/http-binding.js';
import { MeshFeature } from '../../src/infrastructure/contracts/mesh-feature.js';
import { durableCommand, durableEvent, type DurableMessage } from '../../src/infrastructure/contracts/message.js';
import { DeadLetters } from '../../src/infrastructure/dead-letters/dead-letters.js';
import type { MeshOptions } from '../../src/infrastructure/mesh-options.js';
import { UnitOfWork } from '../../src/infrastructure/persistence/unit-of-work.js';
import { insertIntoOutbox } from '../../src/infrastructure/store/outbox-rows.js';
import { outboxStatistics } from '../../src/infrastructure/store/statistics.js';
import { eventually } from '../support/cabs.js';
import { batches, numbers } from '../support/notes.js';
import { meshOf } from '../support/planted.js';
import { ONE_DATABASE } from '../support/thorough.js';

/* Two releases on one database: the new one has a command and an event more. */

const data = z.object({ n: z.int() });
class Work extends durableCommand('planted.left.work', data) {}
class NewWork extends durableCommand('planted.left.new-work', data) {}
class NewlyHappened extends durableEvent('planted.left.newly-happened', data) {}

/** Inserts what a handler has handled, in its unit of work. */
type Handle = (who: string, message: DurableMessage & { data: { n: number } }) => Promise<void>;

function release(isNew: boolean, handle: Handle): Type[] {
  @CommandHandler(Work)
  class WorkHandler {
    execute = (message: Work) => handle('work', message);
  }
  @CommandHandler(NewWork)
  class NewWorkHandler {
    execute = (message: NewWork) => handle('new work', message);
  }
  @EventsHandler(NewlyHappened)
  class LeftHandler {
    handle = (message: NewlyHappened) => handle('left', message);
  }
  @EventsHandler(NewlyHappened)
  class RightHandler {
    handle = (message: NewlyHappened) => handle('right', message);
  }
  const contract = isNew ? { Work, NewWork, NewlyHappened } : { Work };
  @MeshFeature({ name: 'left', contract })
  @Module({ providers: isNew ? [WorkHandler, NewWorkHandler, LeftHandler] : [WorkHandler] })
  class Left {}
  // The old release handles no message in this module.
  @MeshFeature({ name: 'right', contract: {} })
  @Module({ providers: isNew ? [RightHandler] : [] })
  class Right {}
  return [Left, Right];
}

describe.each(ONE_DATABASE)('A message of an unknown type on $kind', ({ kind, fresh }) => {
  let database: string;
  let apps: INestApplication[];
  let handled: string[];

  beforeEach(async () => {
    database = await fresh();
    apps = [];
    handled = [];
  });
  afterEach(async () => {
    for (const app of apps) await app.close();
  });

  const start = async (which: 'old' | 'new', options: Partial<MeshOptions> = {}) => {
    const handle: Handle = async (who, { subject, data: { n } }) => {
      const work = app.get(UnitOfWork);
      await work.sql.run('INSERT INTO left_effect (who, n) VALUES ($1, $2)', [who, n]);
      work.unit.afterCommit(() => handled.push(`${which} ${who} ${subject} ${n}`));
    };
    const imports = meshOf(release(which === 'new', handle), { database, ...options });
    const app: INestApplication = (await Test.createTestingModule({ imports }).compile()).createNestApplication();
    Logger.overrideLogger(false);
    await app.listen(0, '127.0.0.1');
    apps.push(app);
    return app;
  };
  const stop = async (app: INestApplication) => {
    apps.splice(apps.indexOf(app), 1);
    await app.close();
  };
  const urlOf = (app: INestApplication) =>
    `http://127.0.0.1:${((app.getHttpServer() as Server).address() as AddressInfo).port}`;
  const event = (type: string, n: number, more: Partial<CloudEvent> = {}): CloudEvent => ({
    specversion: '1.0',
    id: `${type} ${n}`,
    source: 'usvc://planted/left',
    type,
    subject: 'key',
    datacontenttype: 'application/json',
    data: { n },
    ...more,
  });
  /** Stores messages as a process of the new release did before it was stopped. */
  const send = (app: INestApplication, ...events: CloudEvent[]) => {
    const work = app.get(UnitOfWork);
    return work.run(() => insertIntoOutbox(work.sql, events));
  };
  const post = async (app: INestApplication, path: string, sent: CloudEvent) => {
    const { headers, body } = HTTP.binary(sent);
    const reply = await fetch(urlOf(app) + path, { method: 'POST', headers, body: String(body) });
    return { status: reply.status, text: await reply.text() };
  };
  const statistics = (app: INestApplication) => outboxStatistics(app.get(UnitOfWork).sql);
  const effects = async (app: INestApplication) => {
    const rows = await app
      .get(UnitOfWork)
      .sql.all<{ who: string; n: number }>('SELECT who, n FROM left_effect ORDER BY who, n');
    return rows.map(({ who, n }) => `${who} ${n}`);
  };
  const letters = (app: INestApplication) => app.get(DeadLetters).list({}, { limit: 10, offset: 0 });
  /** Less than the pause between two queries for waiting messages. */
  const SOON_MS = 4000;

  it('waits in process for the release that knows it, and holds up nothing', async () => {
    const old = await start('old');
    await send(old, ...numbers(3).map((n) => event(NewWork.type, n)), event(NewlyHappened.type, 1));
    await eventually(
      () => statistics(old),
      ({ retrying }) => retrying === 4,
    );
    await old.get(CommandBus).execute(new Work('key', { n: 9 }));
    await eventually(
      () => effects(old),
      (all) => all.join() === 'work 9',
    );
    expect(await statistics(old)).toMatchObject({
      pending: 4,
      ready: 0,
      retrying: 4,
      lagMs: 0,
      deadLetters: 0,
      consumers: { 'k-sink': 4 },
    });
    const ready = await fetch(`${urlOf(old)}/health/ready`);
    expect(ready.status).toBe(200);
    await stop(old);

    const renewed = await start('new');
    await eventually(
      () => statistics(renewed),
      ({ pending }) => pending === 0,
      SOON_MS,
    );
    expect(await effects(renewed)).toEqual(['left 1', 'new work 0', 'new work 1', 'new work 2', 'right 1', 'work 9']);
    expect(handled.filter((it) => it.includes('new work'))).toEqual(numbers(3).map((n) => `new new work key ${n}`));
    expect(await letters(renewed)).toEqual([]);
  });

  it('is accepted from a broker, waits for the release that knows it, and is handled once', async () => {
    const broker = { atRoot: true };
    const old = await start('old', { broker });
    const happened = event(NewlyHappened.type, 2);
    const accepted = { status: 204, text: '' };
    for (const _ of [1, 2]) expect(await post(old, '/mesh/left', event(NewWork.type, 1))).toEqual(accepted);
    for (const path of ['/mesh/right', '/']) expect(await post(old, path, happened)).toEqual(accepted);
    // A module that handles no message at all in this release, and a type that no release knows.
    expect(await post(old, '/mesh/right', event('planted.never', 1))).toEqual(accepted);
    expect(await post(old, '/mesh/elsewhere', happened)).toMatchObject({ status: 422 });
    expect(await statistics(old)).toMatchObject({
      pending: 4,
      ready: 0,
      retrying: 4,
      // What the broker delivers twice is stored once.
      consumers: { left: 1, right: 2, unknown: 1 },
    });
    await stop(old);
    const renewed = await start('new', { broker });
    await eventually(
      () => statistics(renewed),
      ({ pending }) => pending === 1,
      SOON_MS,
    );
    expect(await effects(renewed)).toEqual(['left 2', 'new work 1', 'right 2']);
    expect(await statistics(renewed)).toMatchObject({ retrying: 1, deadLetters: 0, consumers: { right: 1 } });
  });

  it('is a dead letter after the grace, with a reason, and is handled after a replay', async () => {
    const delivery = { unknownTypeGraceMs: 50 };
    const old = await start('old', { broker: { atRoot: true }, delivery });
    await send(old, event(NewWork.type, 1));
    for (const path of ['/mesh/right', '/']) await post(old, path, event(NewlyHappened.type, 2));
    const dead = await eventually(
      () => letters(old),
      ({ length }) => length === 3,
    );
    const found = dead.map(({ consumer, attempts, error }) => `${consumer} ${attempts} ${error}`).sort();
    const advice = 'start a release that has one and replay the message, or discard the message';
    expect(found).toEqual([
      `k-sink 1 UnknownType: No module here has a handler for planted.left.new-work: ${advice}`,
      `right 1 UnknownType: right has no handler for planted.left.newly-happened: ${advice}`,
      `unknown 1 UnknownType: No module here has a handler for planted.left.newly-happened: ${advice}`,
    ]);
    const { replayed, skipped } = await old.get(DeadLetters).requeueAll({ consumer: 'unknown' }, false);
    expect({ replayed, skipped }).toEqual({ replayed: 0, skipped: [expect.objectContaining({ count: 1 })] });
    await stop(old);
    const renewed = await start('new');
    expect(await renewed.get(DeadLetters).requeueAll({}, false)).toEqual({ replayed: 3, skipped: [] });
    await eventually(
      () => statistics(renewed),
      ({ pending }) => pending === 0,
    );
    expect(await effects(renewed)).toEqual(['left 2', 'new work 1', 'right 2']);
  });

  it('is refused by the ingress when there is no grace', async () => {
    const old = await start('old', { broker: { atRoot: true }, delivery: { unknownTypeGraceMs: 0 } });
    for (const [path, says] of [
      ['/mesh/left', /left has no handler/],
      ['/', /No module here has a handler/],
    ] as const) {
      const { status, text } = await post(old, path, event(NewWork.type, 1));
      expect({ status, text }).toEqual({ status: 422, text: expect.stringMatching(says) as unknown });
    }
    await send(old, event(NewWork.type, 1));
    expect(
      await eventually(
        () => letters(old),
        ({ length }) => length > 0,
      ),
    ).toMatchObject([{ consumer: 'k-sink' }]);
  });

  it('is a duplicate when another release has handled it already', async () => {
    const broker = {};
    const renewed = await start('new', { broker });
    expect(await post(renewed, '/mesh/left', event(NewWork.type, 1))).toMatchObject({ status: 204 });
    await stop(renewed);
    const old = await start('old', { broker });
    expect(await post(old, '/mesh/left', event(NewWork.type, 1))).toMatchObject({ status: 204 });
    expect(await statistics(old)).toMatchObject({ pending: 0 });
  });

  it('is rejected at once when its type is known and its data violates the contract', async () => {
    const old = await start('old', { broker: {} });
    const bad = event(Work.type, 1, { data: { n: 'many' } });
    expect(await post(old, '/mesh/left', bad)).toMatchObject({ status: 422 });
    await send(old, bad);
    await eventually(
      () => letters(old),
      (all) => all.length === 1 && all[0]!.error.includes("doesn't match its contract"),
    );
  });

  it('goes out to the broker when the next release publishes to one', async () => {
    const received: string[] = [];
    const server = createServer((request, response) => {
      request.resume().on('end', () => response.writeHead(202).end());
      received.push(String(request.headers['ce-id']));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const old = await start('old');
    await send(old, event(NewWork.type, 1));
    await eventually(
      () => statistics(old),
      ({ retrying }) => retrying === 1,
    );
    await stop(old);
    await start('old', { broker: { sink: `http://127.0.0.1:${(server.address() as AddressInfo).port}/` } });
    await eventually(
      async () => received,
      ({ length }) => length === 1,
      SOON_MS,
    );
    server.close();
  });

  it('costs nothing while it waits, also when there are many', async () => {
    const old = await start('old');
    for (const batch of batches(3000, 0, 500)) await send(old, ...batch.map((n) => event('planted.never', n)));
    await eventually(
      () => statistics(old),
      ({ retrying, ready }) => retrying === 3000 && ready === 0,
    );
    const { sql } = old.get(UnitOfWork);
    const rows = () => sql.all('SELECT seq, attempts, due_at FROM mesh_delivery ORDER BY seq');
    const before = await rows();
    await old.get(CommandBus).execute(new Work('key', { n: 1 }));
    await eventually(
      () => effects(old),
      ({ length }) => length === 1,
    );
    expect(await rows()).toEqual(before);
  });

  const onPostgres = kind === 'postgres' ? it : it.skip;
  onPostgres('is handled once while processes of both releases share the leases', async () => {
    const [old, renewed] = [await start('old'), await start('new')];
    const { sql } = old.get(UnitOfWork);
    await eventually(
      () =>
        sql.all<{ n: string }>(
          'SELECT COUNT(*) AS n FROM mesh_lease WHERE holder IS NOT NULL GROUP BY part, holder ORDER BY n',
        ),
      (shares) => shares.map(({ n }) => Number(n)).join() === '16,16,16,16',
    );
    const work = renewed.get(UnitOfWork);
    await work.run(async () => {
      for (const n of numbers(40)) {
        await renewed.get(CommandBus).execute(new NewWork(`key ${n}`, { n }));
        renewed.get(EventBus).publish(new NewlyHappened(`key ${n}`, { n }));
        await renewed.get(CommandBus).execute(new Work(`key ${n}`, { n }));
      }
    });
    await eventually(
      () => statistics(renewed),
      ({ pending }) => pending === 0,
    );
    expect(handled.filter((it) => it.startsWith('old work')).length).toBeGreaterThan(0);
    const expected = ['left', 'new work', 'right', 'work'].flatMap((who) => numbers(40).map((n) => `${who} ${n}`));
    expect((await effects(renewed)).sort()).toEqual(expected.sort());
    expect(await letters(renewed)).toEqual([]);
  });

  onPostgres('is handled once when the old processes are replaced one after the other', async () => {
    const old = [await start('old'), await start('old')];
    const renewed = await start('new');
    const sendNew = async (from: number) => {
      await renewed.get(UnitOfWork).run(async () => {
        for (const n of numbers(20)) {
          await renewed.get(CommandBus).execute(new NewWork(`key ${from + n}`, { n: from + n }));
        }
      });
    };
    await sendNew(0);
    await stop(old[0]!);
    const second = await start('new');
    await sendNew(20);
    await stop(old[1]!);
    await sendNew(40);
    await eventually(
      () => statistics(second),
      ({ pending }) => pending === 0,
    );
    expect((await effects(second)).sort()).toEqual(
      numbers(60)
        .map((n) => `new work ${n}`)
        .sort(),
    );
    expect(await letters(second)).toEqual([]);
  });
});
