import { UnitOfWork } from '../../src/infrastructure/persistence/unit-of-work.js';
import { Transit } from '../../src/modules/rides/tables.js';
import { expectFasterThan, startCabs, type Cabs } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';
import { connect } from '../support/notes.js';
import { get, transitIn, waitUntilIdle, type Ride } from '../support/rest.js';

interface Page {
  readonly items: Ride[];
  readonly total: number;
}

interface Letters {
  readonly items?: object[];
  readonly causes?: { readonly count: number }[];
  readonly total: number;
}

const ROWS = 200_000;
/** For a page of 100 rides on a busy machine, in ms. */
const LIMIT_MS = 60;

describe.each(DATABASES)(`Listings of ${ROWS} rows on $kind`, ({ fresh, kind }) => {
  let cabs: Cabs;
  let ride: Ride;

  beforeAll(async () => {
    const url = await fresh();
    cabs = await startCabs(url);
    await cabs.app.listen(0, '127.0.0.1');
    const { id } = await transitIn(cabs, 'COMPLETED');
    ride = await get(cabs, `/transits/${id}`);
    await waitUntilIdle(cabs);
    const connection = await connect(url);
    await connection.run(copies(cabs.app.get(UnitOfWork), id));
    await connection.run(LETTERS);
    if (kind === 'postgres') await connection.run('ANALYZE');
    await connection.close();
  });
  afterAll(() => cabs.close());

  it.each([
    ['', 100],
    ['&status=completed', 100],
    ['&status=draft', 0],
    ['&clientId=CLIENT', 100],
    ['&clientId=CLIENT&status=completed', 100],
    ['&clientId=CLIENT&status=draft', 0],
    ['&clientId=2000000000', 0],
    ['&requestedBefore=2020-01-01T15:00:00Z', 100],
  ])('the first and the last page of ?%s are answered at once, and the total is bounded', async (filter, count) => {
    const query = filter.replace('CLIENT', String(ride.clientId));
    for (const page of [1, 100]) {
      await expectFasterThan(
        LIMIT_MS,
        async () => {
          const found = await get<Page>(cabs, `/transits?size=100&page=${page}${query}`);
          expect([found.items.length, found.total]).toEqual([count, count && 10_000]);
        },
        { times: 3, maxRuns: 10 },
      );
    }
  });

  it.each([
    'page=1&size=100',
    'page=100&size=100',
    'cause=cause%201&page=100&size=100',
    'by=cause',
    'cause=cause%201&by=cause',
  ])('dead letters of ?%s are answered at once, and counting is bounded', async (query) => {
    await expectFasterThan(
      LIMIT_MS,
      async () => {
        const { items, causes, total } = await get<Letters>(cabs, `/mesh/dead-letters?${query}`);
        expect([items?.length ?? causes!.reduce((sum, { count }) => sum + count, 0), total]).toEqual([
          items ? 100 : 10_000,
          10_000,
        ]);
      },
      { times: 3, maxRuns: 10 },
    );
  });

  it('rides after the last page are reached with requestedBefore', async () => {
    const last = (await get<Page>(cabs, '/transits?size=100&page=100')).items.at(-1)!;
    const [next] = (await get<Page>(cabs, `/transits?requestedBefore=${last.requestedAt}`)).items;
    expect(next!.requestedAt < last.requestedAt).toBe(true);
    expect(Number(last.id.slice(-12)) - Number(next!.id.slice(-12))).toBe(1);
  });
});

/** A statement that adds dead letters, each with a time of its own. */
const LETTERS = `WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ${ROWS})
  INSERT INTO mesh_dead_letter (id, consumer, event_id, type, subject, event, attempts, cause, error, dead_at)
  SELECT n, 'drivers', n, 'a.b', 's', '{}', 1, 'cause ' || (n % 3), 'e', n FROM numbers`;

/** A statement that copies a ride, with later ids and earlier times. */
function copies(work: UnitOfWork, id: string): string {
  const columns = work.repository(Transit).metadata.columns.map(({ databaseName }) => databaseName);
  const time = `'2020-01-01T' || (10 + n / 20000) || ':' || (10 + n / 400 % 50) || ':' || (10 + n / 8 % 50) || '.' || (100 + n % 8) || 'Z'`;
  const changed: Record<string, string> = {
    id: `'00000000-0000-4000-8000-' || (100000000000 + n)`,
    requested_at: time,
  };
  return `WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < ${ROWS - 1})
    INSERT INTO rides_transit (${columns.join(', ')})
    SELECT ${columns.map((column) => changed[column] ?? column).join(', ')} FROM rides_transit, numbers WHERE id = '${id}'`;
}
