import { jest } from '@jest/globals';
import { CommandBus } from '@nestjs/cqrs';
import type { TestingModule } from '@nestjs/testing';
import { DeadLetters } from '../../src/infrastructure/dead-letters/dead-letters.js';
import { InboxReceiver } from '../../src/infrastructure/delivery/inbox-receiver.js';
import { DatabaseUnavailable } from '../../src/infrastructure/persistence/sql.js';
import { UnitOfWork } from '../../src/infrastructure/persistence/unit-of-work.js';
import { eventually } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';
import { batches, connect, numbers } from '../support/notes.js';
import { ELSEWHERE, plant, Work, type Behaviour } from '../support/planted.js';

// On a busy machine a unit of work may exceed its second. Its messages are isolated then, which changes the counts.
jest.retryTimes(3);

describe.each(DATABASES)('Messages that share transactions on $kind', ({ kind, fresh }) => {
  const onPostgres = kind === 'postgres' ? it : it.skip;
  let app: TestingModule;
  /** How often the handler ran for each message, including attempts that were rolled back. */
  let runs: Map<number, number>;

  const start = async (work: (n: number) => Promise<void>, retry = 10) => {
    runs = new Map();
    const database = await fresh();
    const behaviour: Partial<Behaviour> = {
      work: async ({ data: { n } }) => {
        runs.set(n, (runs.get(n) ?? 0) + 1);
        await work(n);
      },
    };
    // Enough retries for units of work that a busy machine slows down.
    ({ app } = await plant({ database, delivery: { retry, backoffDelayMs: 20 } }, behaviour));
    const connection = await connect(database);
    await connection.run('CREATE TABLE written (n integer)');
    await connection.run('CREATE TABLE shared (id integer PRIMARY KEY, count integer NOT NULL)');
    const rows = numbers(10).map((id) => `(${id}, 0)`);
    await connection.run(`INSERT INTO shared VALUES ${rows.join(', ')}`);
    await connection.run('CREATE TABLE part (of_shared integer REFERENCES shared (id) DEFERRABLE INITIALLY DEFERRED)');
    await connection.close();
  };
  afterEach(() => app.close());

  const sql = () => app.get(UnitOfWork).sql;
  const write = (n: number) => sql().run('INSERT INTO written VALUES ($1)', [n]);
  const written = () => sql().all<{ n: number }>('SELECT n FROM written ORDER BY n');
  /**
   * Sends many messages with each commit, so that they can be handled together. On SQLite the commit may be that of a message
   * that makes it fail: nothing was sent then, and the sender tries again.
   */
  const send = async (count: number) => {
    const units = app.get(UnitOfWork);
    for (const batch of batches(count)) {
      const sendBatch = () =>
        units.run(async () => {
          for (const n of batch) await app.get(CommandBus).execute(new Work(crypto.randomUUID(), { n }));
        });
      await sendBatch().catch((error: unknown) => {
        if (error instanceof DatabaseUnavailable) return sendBatch();
        throw error;
      });
    }
  };
  const allWritten = (count: number) => eventually(written, ({ length }) => length >= count);

  it('are each handled once', async () => {
    await start(async (n) => void (await write(n)));
    await send(400);
    expect((await allWritten(400)).map(({ n }) => n)).toEqual(numbers(400));
    expect([...runs.values()].every((times) => times === 1)).toBe(true);
  });

  onPostgres('are handled together in one transaction', async () => {
    await start(async (n) => void (await write(n)));
    await send(400);
    await allWritten(400);
    // xmin is the transaction that wrote the row. Batches begin with 4 messages; their growth is tested in batch-size.spec.ts.
    const transactions = await sql().all<{ n: string }>('SELECT COUNT(*) AS n FROM written GROUP BY xmin::text');
    expect(Math.max(...transactions.map(({ n }) => Number(n)))).toBeGreaterThanOrEqual(4);
  });

  it('are handled although others of their transaction fail, and keep no row of a failed attempt', async () => {
    const failsFirst = (n: number) => n % 50 === 7 && runs.get(n)! < 3;
    await start(async (n) => {
      await write(n);
      if (failsFirst(n)) throw new Error('not yet');
    });
    await send(400);
    const rows = await allWritten(400);
    expect(rows.map(({ n }) => n)).toEqual(numbers(400));
    // Once together and once isolated, however often the others fail.
    const ofOthers = [...runs].filter(([n]) => n % 50 !== 7).map(([, times]) => times);
    expect(new Set(ofOthers)).toEqual(new Set([1, 2]));
    expect(await app.get(DeadLetters).count({})).toBe(0);
  });

  it('are handled although the COMMIT fails because of one of them, which is dead-lettered', async () => {
    await start(async (n) => {
      await write(n);
      if (n === 20) await sql().run('INSERT INTO part VALUES (4711)');
    }, 3);
    await send(200);
    expect((await allWritten(199)).map(({ n }) => n)).toEqual(numbers(200).filter((n) => n !== 20));
    await eventually(
      () => app.get(DeadLetters).count({}),
      (count) => count === 1,
    );
    expect(runs.get(20)).toBeLessThanOrEqual(8);
    expect((await written()).map(({ n }) => n)).not.toContain(20);
  });

  onPostgres('are handled although one of them swallows the error of a statement', async () => {
    await start(async (n) => {
      if (n === 20 && runs.get(n)! < 4) {
        // From here on PostgreSQL commits nothing of this transaction.
        await sql()
          .run('INSERT INTO nowhere VALUES (1)')
          .catch(() => undefined);
        return;
      }
      await write(n);
    });
    await send(60);
    expect((await allWritten(60)).map(({ n }) => n)).toEqual(numbers(60));
  });

  it('are handled without deadlocks when all of them update the same rows', async () => {
    await start(async (n) => {
      await sql().run('UPDATE shared SET count = count + 1 WHERE id = $1', [(n * 7) % 10]);
      await write(n);
    });
    await send(600);
    expect((await allWritten(600)).map(({ n }) => n)).toEqual(numbers(600));
    const [sum] = await sql().all<{ n: string }>('SELECT SUM(count) AS n FROM shared');
    expect(Number(sum!.n)).toBe(600);
    expect(await app.get(DeadLetters).count({})).toBe(0);
  });

  it('are dropped when the same event is already in their transaction', async () => {
    await start(async (n) => void (await write(n)));
    const event = (n: number) =>
      ({
        specversion: '1.0',
        id: `e${n}`,
        source: ELSEWHERE,
        subject: 's',
        type: 'planted.left.work',
        data: { n },
      }) as const;
    const receiver = app.get(InboxReceiver);
    const outcomes = await Promise.all(numbers(60).map((k) => receiver.receive('left', event(k % 20))));
    expect(outcomes.filter((it) => it === 'handled')).toHaveLength(20);
    expect(outcomes.filter((it) => it === 'duplicate')).toHaveLength(40);
    expect((await written()).map(({ n }) => n)).toEqual(numbers(20));
  });
});
