import { jest } from '@jest/globals';
import { setTimeout as wait } from 'node:timers/promises';
import type { BatchPrelude } from '../../src/infrastructure/persistence/unit.js';
import { DATABASES } from '../support/databases.js';
import { deferred, numbers, openNotes, outcome, together, type Notes } from '../support/notes.js';

const postgres = DATABASES.find(({ kind }) => kind === 'postgres');
/** Less than a unit of work may take, in ms. */
const LONG_MS = 800;

// On a busy machine a unit of work may exceed its second.
jest.retryTimes(3);

/** Units of work of several consumers, as messages have them, on a pool of a few connections. */
(postgres ? describe : describe.skip)('Consumers on PostgreSQL', () => {
  let notes: Notes;
  const open = async (poolSize?: number) => (notes = await openNotes(await postgres!.fresh(), { poolSize }));
  afterEach(() => notes.close());

  const sql = () => notes.work.sql;
  const preludeOf = (batchKey: string): BatchPrelude<number, number> => ({
    batchKey,
    load: async (connection, items) => {
      await connection.all('SELECT 1 AS one');
      return items;
    },
  });

  it.each([
    [10, 4],
    [3, 2],
    [2, 1],
    [1, 1],
  ])('take a part of %i connections when they are slow and fail: %i', async (poolSize, most) => {
    await open(poolSize);
    const failing = preludeOf('failing');
    let [inFlight, max] = [0, 0];
    const fail = async () => {
      max = Math.max(max, ++inFlight);
      await wait(30).finally(() => inFlight--);
      throw new Error('slow and failing');
    };
    const outcomes = await Promise.all(numbers(40).map((n) => outcome(notes.work.runInBatch(failing, n, fail))));
    expect(outcomes.map(String)).toEqual(numbers(40).map(() => 'Error: slow and failing'));
    expect(max).toBe(most);
  });

  it('that are slow and fail leave connections to requests and other consumers', async () => {
    await open();
    const [failing, other, served] = [preludeOf('failing'), preludeOf('other'), deferred()];
    let [runs, inFlight, ended] = [0, 0, 0];
    const fail = async () => {
      // From the first failure on each runs alone.
      if (runs++ === 0) throw new Error('failing');
      inFlight++;
      await Promise.race([served.promise, wait(LONG_MS)]);
      ended++;
      throw new Error('slow and failing');
    };
    const start = () => Promise.all(numbers(20).map((n) => outcome(notes.work.runInBatch(failing, n, fail))));
    const failures = start();
    while (inFlight < 4) await wait(5);
    const more = start();
    // Time to take more connections.
    await wait(100);
    await notes.work.runInBatch(other, 1, () => notes.add('message'));
    await notes.work.run(() => notes.add('request'));
    expect([inFlight, ended]).toEqual([4, 0]);
    served.resolve();
    await Promise.all([failures, more]);
  });

  it('repeat units that lock each other out, in the end one after the other, and none fails', async () => {
    await open();
    await notes.work.run(() => sql().run('CREATE TABLE account (id integer PRIMARY KEY, amount integer NOT NULL)'));
    await notes.work.run(() => sql().run('INSERT INTO account VALUES (0, 0), (1, 0), (2, 0)'));
    const bank = preludeOf('bank');
    const transfer = (n: number) =>
      notes.work.runInBatch(bank, n, async () => {
        const [from, to] = [n % 3, (n + 1 + (n % 2)) % 3];
        await sql().run('UPDATE account SET amount = amount - 1 WHERE id = $1', [from]);
        // As a handler that looks something up in between: others lock their first account meanwhile.
        await sql().all('SELECT pg_sleep(0.005)');
        await sql().run('UPDATE account SET amount = amount + 1 WHERE id = $1', [to]);
      });
    const failing = outcome(notes.work.runInBatch(bank, 0, () => Promise.reject(new Error('isolates the others'))));
    const { errors } = await together(numbers(100).map(transfer));
    expect(String(await failing)).toBe('Error: isolates the others');
    expect(errors).toEqual([]);
    const [sum] = await sql().all<{ n: string }>('SELECT SUM(amount) AS n FROM account');
    expect(Number(sum!.n)).toBe(0);
  });
});
