import type { TestingModule } from '@nestjs/testing';
import { CloudEvent } from 'cloudevents';
import { DataSource } from 'typeorm';
import { Reject } from '../../src/infrastructure/contracts/message.js';
import { DeadLetters } from '../../src/infrastructure/dead-letters/dead-letters.js';
import { InboxReceiver } from '../../src/infrastructure/delivery/inbox-receiver.js';
import { Outbox } from '../../src/infrastructure/outbox/outbox.js';
import { dataSourceOptions } from '../../src/infrastructure/persistence/data-source-options.js';
import { UnitOfWork } from '../../src/infrastructure/persistence/unit-of-work.js';
import { outboxStatistics } from '../../src/infrastructure/store/statistics.js';
import { eventually } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';
import { ELSEWHERE, plant } from '../support/planted.js';

const ATTRIBUTES = {
  specversion: '1.0',
  id: 'sdk Ż 1',
  source: ELSEWHERE,
  type: 'planted.left.happened',
  subject: '5f0c9a2e-1111-4222-8333-944445555666',
  // toJSON() of the SDK's class would cut this time and convert it to UTC.
  time: '2026-03-29T02:30:00.123456789+01:00',
  mine: 'an extension',
  datacontenttype: 'application/json',
};

describe.each(DATABASES)('A CloudEvent of the SDK on $kind', ({ fresh }) => {
  let app: TestingModule;
  /** A data source of the application, beside that of the mesh. */
  let dataSource: DataSource;
  const handled: { subject: string; data: unknown }[] = [];

  beforeEach(async () => {
    handled.length = 0;
    const database = await fresh();
    const left = async ({ subject, data }: { subject: string; data: unknown }) => void handled.push({ subject, data });
    // The dead letter of `right` shows the event as it was delivered.
    const right = () => Promise.reject(new Reject('to see the event'));
    ({ app } = await plant({ database }, { left, right }));
    dataSource = await new DataSource(dataSourceOptions(database)).initialize();
  });
  afterEach(async () => {
    await dataSource.destroy();
    await app.close();
  });

  const work = () => app.get(UnitOfWork);
  const outbox = () => app.get(Outbox);
  const rows = (table: string) => work().sql.all(`SELECT * FROM ${table}`);
  const idle = () =>
    eventually(
      () => outboxStatistics(work().sql),
      ({ pending }) => pending === 0,
    );
  const INSERT = `INSERT INTO left_effect (who, n) VALUES ('sender', 1)`;

  /** Both write an effect in the transaction of the event. */
  const WAYS: [name: string, send: (event: CloudEvent<unknown>) => Promise<void>][] = [
    [
      'outbox.add(event) in a unit of work',
      (event) =>
        work().run(async () => {
          await work().sql.run(INSERT);
          outbox().add(event);
        }),
    ],
    [
      'outbox.add(manager, event) in a transaction of TypeORM',
      (event) =>
        dataSource.transaction(async (manager) => {
          await manager.query(INSERT);
          await outbox().add(manager, event);
        }),
    ],
  ];

  it.each(WAYS)('is delivered unchanged after %s', async (_, send) => {
    await send(new CloudEvent({ ...ATTRIBUTES, data: { n: 1 } }));
    await eventually(
      () => app.get(DeadLetters).count({}),
      (count) => count === 1,
    );
    await idle();
    expect(handled).toEqual([{ subject: ATTRIBUTES.subject, data: { n: 1 } }]);
    expect(await rows('left_effect')).toHaveLength(1);
    const { id, source } = ATTRIBUTES;
    expect(await rows('mesh_inbox')).toEqual([expect.objectContaining({ consumer: 'left', source, id })]);
    const [letter] = await app.get(DeadLetters).list({}, { limit: 10, offset: 0 });
    expect(letter).toMatchObject({ consumer: 'right' });
    expect((await app.get(DeadLetters).find(letter!.id))!.event).toEqual({ ...ATTRIBUTES, data: { n: 1 } });
  });

  it.each(WAYS)('that breaks the contract of its type throws in %s, and leaves nothing', async (_, send) => {
    for (const data of [{ n: 'one' }, {}, undefined]) {
      await expect(send(new CloudEvent({ ...ATTRIBUTES, data }))).rejects.toThrow(
        expect.objectContaining({ name: 'ZodError' }) as Error,
      );
    }
    await idle();
    for (const table of ['left_effect', 'mesh_outbox', 'mesh_delivery', 'mesh_inbox', 'mesh_dead_letter']) {
      expect({ table, rows: await rows(table) }).toEqual({ table, rows: [] });
    }
    expect(handled).toEqual([]);
  });

  it('is handled in the order in which a unit adds it, with its manager and without', async () => {
    const event = (n: number) => new CloudEvent({ ...ATTRIBUTES, id: `event ${n}`, data: { n } });
    await work().run(async () => {
      const { manager } = work().unit;
      outbox().add(event(1));
      await outbox().add(manager, event(2));
      outbox().add(event(3));
      await outbox().add(manager, event(4));
    });
    await eventually(
      async () => handled.length,
      (count) => count === 4,
    );
    expect(handled.map(({ data }) => data)).toEqual([1, 2, 3, 4].map((n) => ({ n })));
  });

  it('that breaks its contract rejects the promise of outbox.add(manager, event)', async () => {
    await dataSource.transaction(async (manager) => {
      const added = outbox().add(manager, new CloudEvent({ ...ATTRIBUTES, data: {} }));
      await expect(added).rejects.toThrow(/expected number/);
    });
  });

  it('is handled once by receiver.receive(consumer, event)', async () => {
    const receive = (data: unknown) => app.get(InboxReceiver).receive('left', new CloudEvent({ ...ATTRIBUTES, data }));
    await expect(receive({ n: 'one' })).rejects.toThrow(Reject);
    expect(await rows('mesh_inbox')).toEqual([]);
    const event = new CloudEvent({ ...ATTRIBUTES, data: { n: 1 } });
    expect(await app.get(InboxReceiver).receive('left', event)).toBe('handled');
    expect(await app.get(InboxReceiver).receive('left', event)).toBe('duplicate');
    expect(await receive({ n: 1 })).toBe('duplicate');
    expect(handled).toEqual([{ subject: ATTRIBUTES.subject, data: { n: 1 } }]);
  });
});
