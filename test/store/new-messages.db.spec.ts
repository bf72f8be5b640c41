import type { CloudEvent } from '../../src/infrastructure/cloudevents/cloud-event.js';
import { insertIntoOutbox } from '../../src/infrastructure/store/outbox-rows.js';
import { storeMessages } from '../../src/infrastructure/store/new-messages.js';
import { MINIMAL_EVENT } from '../support/cloud-events.js';
import { DATABASES } from '../support/databases.js';
import { Database } from '../../src/infrastructure/persistence/database.js';
import { UnitOfWork } from '../../src/infrastructure/persistence/unit-of-work.js';
import { migrationHistories } from '../../src/infrastructure/store/migration-histories.js';

const CONSUMERS: Record<string, string[]> = { one: ['left'], two: ['left', 'right'], none: [] };
const consumersOf = (type: string) => CONSUMERS[type];

function event(id: string, type: string, subject = 'same'): CloudEvent {
  return { ...MINIMAL_EVENT, id, type, subject, data: { text: `${id}, "quoted" \\ {ż}` } };
}

describe.each(DATABASES)('New messages on $kind', ({ fresh }) => {
  let database: Database;
  let work: UnitOfWork;
  beforeEach(async () => {
    const histories = migrationHistories([], []);
    database = await Database.open({ database: await fresh(), entities: [], histories, migrate: true });
    work = new UnitOfWork(database);
  });
  afterEach(() => database.close());

  const store = (events: readonly CloudEvent[]) => work.run(() => storeMessages(work.sql, events, consumersOf, 0));
  const outbox = () => work.sql.all<{ id: string; event: string }>('SELECT id, event FROM mesh_outbox ORDER BY seq');
  const deliveries = () =>
    work.sql.all<{ consumer: string; id: string; event: string; partition_key: string; attempts: number }>(
      'SELECT consumer, id, event, partition_key, attempts FROM mesh_delivery ORDER BY seq',
    );
  const idsOf = (rows: readonly { id: string }[]) => rows.map(({ id }) => id);

  it('become deliveries in their order, one for each consumer, with their event as it is', async () => {
    const events = [event('1', 'one'), event('2', 'two'), event('3', 'one', 'other')];
    expect(await store(events)).toBe(false);
    const rows = await deliveries();
    expect(rows.map(({ consumer, id }) => `${consumer} ${id}`)).toEqual(['left 1', 'left 2', 'right 2', 'left 3']);
    expect(rows.map((row) => JSON.parse(row.event) as unknown)).toEqual([events[0], events[1], events[1], events[2]]);
    expect(rows.map((it) => it.partition_key)).toEqual(['same', 'same', 'same', 'other']);
    expect(rows.every(({ attempts }) => attempts === 0)).toBe(true);
    expect(await outbox()).toEqual([]);
  });

  it('leave nothing where a type has no consumers', async () => {
    expect(await store([event('1', 'none')])).toBe(false);
    expect([await outbox(), await deliveries()]).toEqual([[], []]);
  });

  it('go to the outbox when their type is unknown', async () => {
    expect(await store([event('1', 'unknown'), event('2', 'one')])).toBe(true);
    expect(idsOf(await outbox())).toEqual(['1']);
    expect(idsOf(await deliveries())).toEqual(['2']);
  });

  it('go to the outbox while messages wait there, so that they overtake none', async () => {
    await work.run(() => insertIntoOutbox(work.sql, [event('0', 'one')]));
    expect(await store([event('1', 'two'), event('2', 'one')])).toBe(true);
    expect(idsOf(await outbox())).toEqual(['0', '1', '2']);
    expect(await deliveries()).toEqual([]);
    await work.run(() => work.sql.run('DELETE FROM mesh_outbox'));
    expect(await store([event('3', 'one')])).toBe(false);
    expect(idsOf(await deliveries())).toEqual(['3']);
  });

  it('are stored at the end of their unit, or not at all', async () => {
    const failed = work.run(async () => {
      await storeMessages(work.sql, [event('1', 'one')], consumersOf, 0);
      throw new Error('after all');
    });
    await expect(failed).rejects.toThrow('after all');
    expect(await deliveries()).toEqual([]);
  });
});
