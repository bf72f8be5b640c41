import { v7 as uuidv7 } from 'uuid';
import type { CloudEvent } from '../../src/infrastructure/cloudevents/cloud-event.js';
import { Relay } from '../../src/infrastructure/outbox/relay.js';
import { UnitOfWork } from '../../src/infrastructure/persistence/unit-of-work.js';
import { insertIntoOutbox, listOutbox, moveToDeliveries } from '../../src/infrastructure/store/outbox-rows.js';
import { DATABASES } from '../support/databases.js';
import { ELSEWHERE, plant, type Planted } from '../support/planted.js';

const MEGABYTE = 1024 * 1024;
const EVENTS = 20;

describe.each(DATABASES)('An outbox of large events on $kind', ({ fresh }) => {
  let planted: Planted;
  let work: UnitOfWork;
  let events: CloudEvent[];

  beforeEach(async () => {
    planted = await plant({ database: await fresh() }, {});
    await planted.app.get(Relay).stop(0);
    work = planted.app.get(UnitOfWork);
    // Small ones in between, and one that is larger than all that a query may bring.
    events = Array.from({ length: EVENTS }, (_, n): CloudEvent => {
      const size = n === 10 ? 9 * MEGABYTE : n % 4 === 3 ? 10 : MEGABYTE;
      const event = { specversion: '1.0', id: uuidv7(), source: ELSEWHERE, type: 'large', subject: `${n}` };
      return { ...event, data: 'x'.repeat(size) };
    });
    for (const event of events) await work.run(() => insertIntoOutbox(work.sql, [event]));
  });
  afterEach(() => planted.app.close());

  const query = {
    excluded: { queues: [], groups: [] },
    routes: { orders: {}, groups: {} },
    loaded: [],
    limit: 500,
    held: undefined,
  };

  it('is read a few megabytes at a time, in its order', async () => {
    const read: string[] = [];
    for (let [after, isMore] = [0, true]; isMore;) {
      const { rows, more } = await listOutbox(work.sql, { ...query, after });
      const bytes = rows.reduce((sum, { event }) => sum + event.length, 0);
      expect(rows.length === 1 || bytes <= 8 * MEGABYTE).toBe(true);
      read.push(...rows.map(({ event }) => (JSON.parse(event) as CloudEvent).id));
      [after, isMore] = [Number(rows.at(-1)?.seq ?? after), more];
    }
    expect(read).toEqual(events.map(({ id }) => id));
  });

  it('becomes deliveries a few megabytes at a time, in its order', async () => {
    let units = 0;
    for (let isMore = true; isMore; units++) {
      const moved = await work.run(() => moveToDeliveries(work.sql, () => ['left'], 500, undefined, 0));
      isMore = moved.more;
    }
    expect(units).toBeGreaterThan(2);
    const rows = await work.sql.all<{ id: string; event: string }>('SELECT id, event FROM mesh_delivery ORDER BY seq');
    expect(rows.map(({ id }) => id)).toEqual(events.map(({ id }) => id));
    expect(JSON.parse(rows[10]!.event)).toEqual(events[10]);
  });
});
