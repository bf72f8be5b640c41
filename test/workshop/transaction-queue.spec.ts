import { setTimeout as wait } from 'node:timers/promises';
import { DataSource } from 'typeorm';
import { TransactionQueue } from '../../workshop/shared/transaction-queue.js';

/* Why step 0 runs transactions one at a time: TypeORM has one connection for SQLite. */

describe('Two transactions at the same time on SQLite', () => {
  let dataSource: DataSource;

  beforeEach(async () => {
    dataSource = await new DataSource({ type: 'better-sqlite3', database: ':memory:' }).initialize();
    await dataSource.query('CREATE TABLE ride (id text PRIMARY KEY)');
  });
  afterEach(() => dataSource.destroy());

  /** One transaction fails while another one commits. @returns the rides in the database afterwards */
  async function ridesAfter(run: <T>(transaction: () => Promise<T>) => Promise<T>): Promise<unknown> {
    let hasBegun: () => void;
    const begun = new Promise<void>((resolve) => (hasBegun = resolve));
    const failing = run(() =>
      dataSource.transaction(async (manager) => {
        await manager.query(`INSERT INTO ride VALUES ('rolled back')`);
        hasBegun();
        await wait(50);
        throw new Error('Accounting is down');
      }),
    );
    const failed = expect(failing).rejects.toThrow('Accounting is down');
    await begun;
    const committed = run(() =>
      dataSource.transaction((manager) => manager.query(`INSERT INTO ride VALUES ('committed')`)),
    );
    await committed;
    await failed;
    return dataSource.query('SELECT id FROM ride');
  }

  it('lose committed rows without a queue: the second is a savepoint of the first', async () => {
    expect(await ridesAfter((transaction) => transaction())).toEqual([]);
  });

  it('keep them when a queue runs one transaction after the other', async () => {
    const queue = new TransactionQueue();
    expect(await ridesAfter((transaction) => queue.run(transaction))).toEqual([{ id: 'committed' }]);
  });
});

describe('The transaction queue', () => {
  it('keeps the order, and goes on after an error', async () => {
    const queue = new TransactionQueue();
    const events: string[] = [];
    const transaction = (name: string, ms: number) => async () => {
      events.push(`${name} begins`);
      await wait(ms);
      events.push(`${name} ends`);
      if (name === 'b') throw new Error('b failed');
      return name;
    };
    const results = await Promise.allSettled([
      queue.run(transaction('a', 20)),
      queue.run(transaction('b', 10)),
      queue.run(transaction('c', 0)),
    ]);
    expect(events).toEqual(['a begins', 'a ends', 'b begins', 'b ends', 'c begins', 'c ends']);
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
  });

  it('ends before the application shuts down', async () => {
    const queue = new TransactionQueue();
    let isDone = false;
    void queue.run(async () => {
      await wait(20);
      isDone = true;
    });
    await queue.beforeApplicationShutdown();
    expect(isDone).toBe(true);
  });
});
