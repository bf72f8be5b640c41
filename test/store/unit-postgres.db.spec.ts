import { setTimeout as wait } from 'node:timers/promises';
import { DatabaseUnavailable } from '../../src/infrastructure/persistence/sql.js';
import { DATABASES } from '../support/databases.js';
import { connect, Note, numbers, openNotes, outcome, together, type Connection, type Notes } from '../support/notes.js';

const postgres = DATABASES.find(({ kind }) => kind === 'postgres');

(postgres ? describe : describe.skip)('On PostgreSQL', () => {
  let notes: Notes;
  let administrator: Connection;
  const add = (id: string) => notes.add(id);
  const run = <T>(work: () => Promise<T>) => notes.work.run(work);

  beforeAll(async () => {
    const location = await postgres!.fresh();
    notes = await openNotes(location, { poolSize: 3 });
    administrator = await connect(location);
  });
  beforeEach(() => run(() => notes.work.sql.run('DELETE FROM note')));
  afterAll(async () => {
    await notes.close();
    await administrator.close();
  });

  const ownProcess = async () => (await notes.work.sql.all<{ pid: number }>('SELECT pg_backend_pid() AS pid'))[0]!.pid;
  const end = (pid: number) => administrator.all(`SELECT pg_terminate_backend(${pid}, 5000)`);

  it.each<[string, () => Promise<unknown>]>([
    ['writes by statement', () => add('after')],
    ['writes by repository', () => notes.work.repository(Note).insert({ id: 'after' })],
    ['writes and swallows the error', () => outcome(add('after'))],
    ['just ends', async () => {}],
    ['is in a statement', () => notes.work.sql.all('SELECT pg_sleep(5)')],
  ])('a unit that loses its connection and then %s is refused, and the next ones work', async (what, then) => {
    const lost = run(async () => {
      await add('before');
      const pid = await ownProcess();
      if (what === 'is in a statement') void wait(100).then(() => end(pid));
      else await end(pid);
      await then();
    });
    expect(await outcome(lost)).toBeInstanceOf(DatabaseUnavailable);
    expect(await together(numbers(6).map((n) => run(() => add(`next ${n}`))))).toEqual({ done: 6, errors: [] });
    expect(await notes.seen()).toEqual(numbers(6).map((n) => `next ${n}`));
  });

  it("a unit whose failed statement was swallowed is an error: PostgreSQL doesn't commit it", async () => {
    let ran = 0;
    const aborted = run(async () => {
      await add('note');
      notes.work.unit.afterCommit(() => ran++);
      expect(await outcome(add('note'))).toBeInstanceOf(Error);
    });
    await expect(aborted).rejects.toThrow('aborted by a statement whose error was caught');
    expect([ran, await notes.seen()]).toEqual([0, []]);
  });

  it('a COMMIT that fails says why, rejects its unit only, and leaves a connection that works', async () => {
    const units = numbers(6).map((n) =>
      run(async () => {
        await add(`note ${n}`);
        if (n % 2) await notes.work.sql.run(`INSERT INTO reply (id, note) VALUES ('reply ${n}', 'no such note')`);
      }),
    );
    const { done, errors } = await together(units);
    expect(done).toBe(3);
    expect(errors).toEqual(Array(3).fill(expect.objectContaining({ code: '23503' })));
    expect(await notes.seen()).toEqual(['note 0', 'note 2', 'note 4']);
  });

  it('a unit that waits in a statement is rolled back after a second, and its connection comes back', async () => {
    const slow = numbers(3).map((n) =>
      run(async () => {
        await add(`slow ${n}`);
        await notes.work.sql.all('SELECT pg_sleep(1.5)');
      }),
    );
    expect((await together(slow)).errors.map(({ name }) => name)).toEqual(Array(3).fill('UnitTimedOut'));
    await run(() => add('next'));
    expect(await notes.seen()).toEqual(['next']);
  });

  it('what takes too long is told so however long its statements go on, and however little it waits', async () => {
    const slow = run(() => Promise.all([1, 2].map(() => notes.work.sql.all('SELECT pg_sleep(1.9)'))));
    const busy = run(async () => {
      for (const began = performance.now(); performance.now() - began < 1100;);
    });
    expect((await together([slow, busy])).errors.map(({ name }) => name)).toEqual(['UnitTimedOut', 'UnitTimedOut']);
    await run(() => add('next'));
    expect(await notes.seen()).toEqual(['next']);
  });

  it('units run at the same time, as many as there are connections', async () => {
    const started = performance.now();
    await Promise.all(numbers(3).map(() => run(() => notes.work.sql.all('SELECT pg_sleep(0.5)'))));
    expect(performance.now() - started).toBeLessThan(1400);
  });
});
