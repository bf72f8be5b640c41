import pg from 'pg';
import { IN_TRANSACTION } from '../../src/infrastructure/persistence/sql.js';
import { insertDeliveries } from '../../src/infrastructure/store/delivery-rows.js';
import { recordInInbox } from '../../src/infrastructure/store/inbox-rows.js';
import { migrationHistories } from '../../src/infrastructure/store/migration-histories.js';
import { Database } from '../../src/infrastructure/persistence/database.js';
import { UnitOfWork } from '../../src/infrastructure/persistence/unit-of-work.js';
import { MINIMAL_EVENT } from '../support/cloud-events.js';
import { DATABASES } from '../support/databases.js';
import { openHalfOpenProxy } from '../support/half-open-proxy.js';
import { connect, Note, notesHistory, numbers } from '../support/notes.js';

const postgres = DATABASES.find(({ kind }) => kind === 'postgres');
const DELAY_MS = 20;

(postgres ? describe : describe.skip)('Statements that are sent together', () => {
  let location: string;
  let database: Database;
  let work: UnitOfWork;
  let proxy: Awaited<ReturnType<typeof openHalfOpenProxy>>;

  beforeEach(async () => {
    location = await postgres!.fresh();
    proxy = await openHalfOpenProxy(location);
    const histories = [...migrationHistories([], []), notesHistory];
    database = await Database.open({ database: proxy.url, entities: [Note], histories, migrate: true });
    work = new UnitOfWork(database);
  });
  afterEach(async () => {
    await database.close();
    proxy.close();
  });

  it('share a round trip when a handler does not wait for each of them', async () => {
    const insert = (id: string) => work.repository(Note).insert({ id });
    const timeOf = async (unit: () => Promise<unknown>) => {
      const began = performance.now();
      await work.run(unit);
      return performance.now() - began;
    };
    await timeOf(() => insert('first'));
    proxy.delay(DELAY_MS);
    const apart = await timeOf(async () => {
      for (const n of numbers(8)) await insert(`apart ${n}`);
    });
    const together = await timeOf(() => Promise.all(numbers(8).map((n) => insert(`together ${n}`))));
    proxy.delay(0);
    expect(apart).toBeGreaterThan(10 * 2 * DELAY_MS);
    expect(together).toBeLessThan(apart / 2);
    expect(await work.repository(Note).count()).toBe(17);
  });

  it('fail together, and leave nothing', async () => {
    const unit = work.run(() =>
      Promise.all(['same', 'other', 'same', 'another'].map((id) => work.repository(Note).insert({ id }))),
    );
    await expect(unit).rejects.toThrow('duplicate key');
    expect(await work.repository(Note).count()).toBe(0);
  });

  // A text gets a name when it comes often. In an aborted transaction its first statement is not prepared, and the others of the
  // pipeline run what isn't there.
  it.each([
    [
      'a duplicate key',
      `INSERT INTO note (id) VALUES ($1) -- once`,
      'INSERT INTO note (id) VALUES ($1) -- often',
      'duplicate key',
    ],
    ['an unknown column', 'SELECT 1 WHERE $1 = $1', 'INSERT INTO note (title) VALUES ($1)', 'column "title"'],
  ])('say what failed first: %s', async (_, first, often, message) => {
    await work.run(() => work.repository(Note).insert({ id: 'there' }));
    const query = (text: string, id: string) => work.unit.manager.query(text, [id]);
    let runs = 0;
    for (let n = 1; n <= 3; n++) {
      const unit = work.run(() => {
        runs++;
        return Promise.all([query(first, 'there'), ...numbers(6).map((it) => query(often, `note ${it}`))]);
      });
      await expect(unit).rejects.toThrow(message);
      expect(runs).toBe(n);
    }
    const last = work.run(async () => {
      const many = await Promise.allSettled([query(first, 'there'), ...numbers(6).map((it) => query(often, `${it}`))]);
      throw (many.at(-1) as PromiseRejectedResult).reason;
    });
    await expect(last).rejects.toThrow(/duplicate key|column "title"|current transaction is aborted/);
    expect(await work.repository(Note).count()).toBe(1);
  });

  it('leave nothing when the unit does not wait for them', async () => {
    let after: Promise<unknown>;
    const unit = work.run(async () => {
      const write = async () => {
        await work.sql.run(`INSERT INTO note (id) VALUES ('state')`);
        work.unit.atEnd({ store: () => Promise.resolve() }, 'its message');
      };
      after = write();
      after.catch(() => undefined);
    });
    await expect(unit).rejects.toThrow('was not awaited');
    await expect(after!).rejects.toThrow('was rolled back');
    expect(await work.repository(Note).count()).toBe(0);
  });

  it('leave nothing when an epilogue fails before it sends its statement', async () => {
    const unit = work.run(async () => {
      await work.repository(Note).insert({ id: 'state' });
      const store = async () => {
        throw new Error('This event has no JSON');
      };
      work.unit.atEnd({ store }, 1);
    });
    await expect(unit).rejects.toThrow('This event has no JSON');
    expect(await work.repository(Note).count()).toBe(0);
  });

  it('run in their transaction or not at all, when they are sent with its BEGIN', async () => {
    const event = { ...MINIMAL_EVENT, subject: 'one' };
    await work.run(() => insertDeliveries(work.sql, [{ consumer: 'left', event }]));
    const [row] = await work.sql.all<{ seq: string }>('SELECT seq FROM mesh_delivery');
    const delivery = { seq: row!.seq, consumer: 'left', key: 'one', event, attempts: 0 };
    const connection = await connect(location);
    // What the statement meets when the BEGIN before it has failed.
    const outside = {
      dialect: 'postgres' as const,
      all: async <Row>(text: string, values: readonly unknown[] = []) => {
        const client = new pg.Client({ connectionString: location });
        await client.connect();
        const { rows } = await client.query({ text, values: values as unknown[] }).finally(() => client.end());
        return rows as Row[];
      },
      run: async () => 0,
    };
    expect(await recordInInbox(outside, [{ consumer: 'left', event, delivery }])).toEqual(['lease-lost']);
    expect(await connection.all('SELECT seq FROM mesh_delivery')).toHaveLength(1);
    expect(await connection.all('SELECT id FROM mesh_inbox')).toHaveLength(0);
    await connection.close();
    expect(await work.run(() => recordInInbox(work.sql, [{ consumer: 'left', event, delivery }]))).toEqual(['new']);
    expect(await work.run(() => work.sql.all(`SELECT 1 WHERE ${IN_TRANSACTION}`))).toHaveLength(1);
    expect(await work.sql.all(`SELECT 1 WHERE ${IN_TRANSACTION}`)).toHaveLength(0);
  });

  it('leave room for a cursor, which takes several round trips', async () => {
    const found = await work.run(async () => {
      await work.repository(Note).insert({ id: 'before' });
      const client = (await work.unit.manager.queryRunner!.connect()) as pg.ClientBase;
      const rows = await new Promise<number[]>((resolve, reject) => {
        const numbersRead: number[] = [];
        const cursor = new pg.Query({ text: 'SELECT generate_series(1, 5) AS n', rows: 2 } as pg.QueryConfig);
        cursor.on('row', (row: { n: number }) => void numbersRead.push(row.n));
        cursor.on('end', () => resolve(numbersRead));
        cursor.on('error', reject);
        client.query(cursor);
      });
      await work.repository(Note).insert({ id: 'after' });
      return rows;
    });
    expect(found).toEqual([1, 2, 3, 4, 5]);
    expect(await work.repository(Note).count()).toBe(2);
  });
});
