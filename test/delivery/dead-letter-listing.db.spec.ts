import { v7 as uuidv7 } from 'uuid';
import { UnitOfWork } from '../../src/infrastructure/persistence/unit-of-work.js';
import { insertDeadLetter } from '../../src/infrastructure/store/dead-letter-rows.js';
import { startCabs, type Cabs } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';
import { get, post } from '../support/rest.js';

interface Letter {
  readonly id: string;
  readonly type: string;
  readonly subject: string;
}

/** As long as a sender may choose, in characters. */
const LENGTH = 1_000_000;

describe.each(DATABASES)('Dead letters with long names on $kind', ({ fresh }) => {
  let cabs: Cabs;

  beforeAll(async () => {
    cabs = await startCabs(await fresh());
    const work = cabs.app.get(UnitOfWork);
    const [type, subject] = [`a.${'t'.repeat(LENGTH)}`, 's'.repeat(LENGTH)];
    const event = { specversion: '1.0', id: uuidv7(), source: '/a', type, subject } as const;
    await work.run(() =>
      insertDeadLetter(work.sql, { consumer: 'unknown', event, attempts: 1, error: new Error('no') }),
    );
  });
  afterAll(() => cabs.close());

  it('are listed with the beginnings of their names, and shown as a whole', async () => {
    const { items } = await get<{ items: Letter[] }>(cabs, '/mesh/dead-letters');
    expect(items.map(({ type, subject }) => [type, subject])).toEqual([[`a.${'t'.repeat(198)}`, 's'.repeat(200)]]);
    const { event } = await get<{ event: Letter }>(cabs, `/mesh/dead-letters/${items[0]!.id}`);
    expect([event.type.length, event.subject.length]).toEqual([LENGTH + 2, LENGTH]);
    const { causes } = await get<{ causes: Letter[] }>(cabs, '/mesh/dead-letters?by=cause');
    expect(causes).toMatchObject([{ type: items[0]!.type, count: 1 }]);
  });

  it('are named in short by a replay that skips them', async () => {
    const report = await post(cabs, '/mesh/dead-letters/replay', undefined, 202);
    expect(report).toMatchObject({ replayed: 0, skipped: [{ count: 1 }] });
    expect(JSON.stringify(report).length).toBeLessThan(1000);
  });
});
