import { CommandBus, EventBus } from '@nestjs/cqrs';
import { Reject } from '../../src/infrastructure/contracts/message.js';
import { InboxReceiver } from '../../src/infrastructure/delivery/inbox-receiver.js';
import { JournalRoutes, type JournalEntry } from '../../src/infrastructure/maintenance/journal.routes.js';
import { Retention } from '../../src/infrastructure/maintenance/retention.js';
import type { RouteInput } from '../../src/infrastructure/http/mesh-route.js';
import { Outbox } from '../../src/infrastructure/outbox/outbox.js';
import { UnitOfWork } from '../../src/infrastructure/persistence/unit-of-work.js';
import { eventually, startCabs } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';
import { ELSEWHERE, Happened, plant, Work, type Planted } from '../support/planted.js';

const DAY_MS = 86_400_000;

describe.each(DATABASES)('The journal on $kind', ({ fresh }) => {
  let planted: Planted;

  const start = async (journalMs = DAY_MS) => {
    planted = await plant({ database: await fresh(), retention: { journalMs } }, {});
  };
  afterEach(() => planted.app.close());

  const inUnit = (work: () => unknown) => planted.app.get(UnitOfWork).run(async () => work());
  const send = (subject: string, n = 1) => inUnit(() => planted.app.get(CommandBus).execute(new Work(subject, { n })));
  const list = async (query: object = {}) => {
    const [route] = planted.app.get(JournalRoutes).routes;
    const input = { query: { page: 1, size: 100, ...query } } as unknown as RouteInput<never, never>;
    return ((await route!.handle(input)) as { items: JournalEntry[] }).items;
  };
  const until = (query: object, n: number) =>
    eventually(
      () => list(query),
      (it) => it.length === n,
    );

  it('has a row for each message and consumer, with what caused it', async () => {
    await start();
    planted.behaviour.work = async () => {
      await planted.app.get(EventBus).publish(new Happened('ride', { n: 1 }));
    };
    await send('ride');
    const entries = await until({ subject: 'ride' }, 3);
    const [work] = entries.filter(({ type }) => type === 'planted.left.work');
    expect(work).toMatchObject({
      source: 'usvc://planted/left',
      consumer: 'left',
      subject: 'ride',
      causationId: null,
      attempts: 1,
      outcome: 'handled',
    });
    const happened = entries.filter(({ type }) => type === 'planted.left.happened');
    expect(happened.map(({ consumer }) => consumer).sort()).toEqual(['left', 'right']);
    for (const it of happened)
      expect(it).toMatchObject({ causationId: work!.id, correlationId: work!.correlationId, outcome: 'handled' });
    for (const it of entries) expect(Date.parse(it.handledAt)).toBeGreaterThanOrEqual(Date.parse(it.createdAt));
  });

  it('counts attempts, and names those that failed for good', async () => {
    await start();
    let failures = 2;
    planted.behaviour.prepare = async ({ data: { n } }) => {
      if (n === 1 && failures-- > 0) throw new Error('not now');
      if (n === 2) throw new Reject('never');
    };
    await send('late', 1);
    await send('dead', 2);
    expect(await until({ subject: 'late' }, 1)).toMatchObject([{ attempts: 3, outcome: 'handled' }]);
    expect(await until({ subject: 'dead' }, 1)).toMatchObject([{ attempts: 1, outcome: 'dead' }]);
  });

  it('has nothing of a message whose unit was rolled back, and nothing twice', async () => {
    await start();
    let isBroken = true;
    planted.behaviour.work = async () => {
      if (isBroken) throw new Error('after the row of the journal was written');
    };
    const event = { specversion: '1.0', id: crypto.randomUUID(), source: ELSEWHERE, type: 'planted.left.work' };
    const given = { ...event, subject: 's', data: { n: 1 } };
    const receiver = planted.app.get(InboxReceiver);
    await expect(receiver.receive('left', given)).rejects.toThrow('after the row');
    expect(await list()).toEqual([]);
    isBroken = false;
    const outcomes = await Promise.all([1, 2, 3].map(() => receiver.receive('left', given)));
    expect(outcomes.sort()).toEqual(['duplicate', 'duplicate', 'handled']);
    expect(await list()).toMatchObject([{ id: event.id, source: ELSEWHERE, attempts: 0, outcome: 'handled' }]);
  });

  it('holds names of any length', async () => {
    await start();
    // The last one has a pair of surrogates where it is cut.
    for (const subject of ['s'.repeat(900), 'é'.repeat(400), `${'a'.repeat(299)}😀b`]) {
      await send(subject);
      await until({ subject }, 1);
    }
    const subject = 's'.repeat(900);
    const id = 'i'.repeat(5000);
    const event = { specversion: '1.0', id, source: ELSEWHERE, type: 'unknown'.repeat(50), subject: 'é'.repeat(3000) };
    await inUnit(() => planted.app.get(Outbox).add(event));
    await until({ subject }, 1);
  });

  it('finds rows by correlation id, type and time, the latest first, in pages', async () => {
    await start();
    for (let n = 0; n < 5; n++) {
      await send(`s${n}`);
      await until({}, n + 1);
    }
    const all = await list();
    expect(all.map(({ subject }) => subject)).toEqual(['s4', 's3', 's2', 's1', 's0']);
    expect(await list({ page: 2, size: 2 })).toEqual(all.slice(2, 4));
    expect(await list({ type: 'planted.left.work' })).toHaveLength(5);
    expect(await list({ type: 'planted.left.happened' })).toEqual([]);
    expect(await list({ correlationId: all[2]!.correlationId })).toEqual([all[2]]);
    expect(await list({ since: all[1]!.handledAt })).toEqual(all.filter((it) => it.handledAt >= all[1]!.handledAt));
  });

  it('loses rows when their retention ends', async () => {
    await start();
    await send('old');
    await until({}, 1);
    await planted.app.get(Retention).sweep(Date.now() + DAY_MS - 1000);
    expect(await list()).toHaveLength(1);
    await planted.app.get(Retention).sweep(Date.now() + DAY_MS + 1000);
    expect(await list()).toEqual([]);
  });

  it('says how to turn it on while it is off', async () => {
    await start(0);
    await send('a');
    await expect(list()).rejects.toThrow('The journal is off: set the option retention.journalMs');
  });
});

describe('GET /mesh/journal', () => {
  const [sqlite] = DATABASES;

  it('is kept for a day in development, and tells a misspelt parameter', async () => {
    const cabs = await startCabs(await sqlite!.fresh(), { NODE_ENV: 'development' });
    try {
      const local = (path: string) => cabs.http.get(path).set('Host', 'localhost');
      expect((await local('/mesh/journal')).body).toEqual({ items: [], page: 1, size: 20 });
      for (const query of ['subjct=a', 'since=yesterday', 'subject=%00', 'size=1000'])
        expect((await local(`/mesh/journal?${query}`)).status).toBe(400);
    } finally {
      await cabs.close();
    }
  });
});
