import { setTimeout as wait } from 'node:timers/promises';
import { DatabaseUnavailable } from '../../src/infrastructure/persistence/sql.js';
import { eventually } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';
import { connect, Note, numbers, openNotes, outcome, together, type Connection, type Notes } from '../support/notes.js';

const postgres = DATABASES.find(({ kind }) => kind === 'postgres');

(postgres ? describe : describe.skip)('Units of work on PostgreSQL', () => {
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

  const backendPid = async () => (await notes.work.sql.all<{ pid: number }>('SELECT pg_backend_pid() AS pid'))[0]!.pid;
  const terminate = (pid: number) => administrator.all(`SELECT pg_terminate_backend(${pid}, 5000)`);

  it.each<[string, () => Promise<unknown>]>([
    ['writes by a statement', () => add('after')],
    ['writes by a repository', () => notes.work.repository(Note).insert({ id: 'after' })],
    ['writes and swallows the error', () => outcome(add('after'))],
    ['ends', async () => {}],
    ['waits for a statement', () => notes.work.sql.all('SELECT pg_sleep(5)')],
  ])('fail when one loses its connection and then %s, and the next ones work', async (action, then) => {
    const lost = run(async () => {
      await add('before');
      const pid = await backendPid();
      if (action === 'waits for a statement') void wait(100).then(() => terminate(pid));
      else await terminate(pid);
      await then();
    });
    expect(await outcome(lost)).toBeInstanceOf(DatabaseUnavailable);
    expect(await together(numbers(6).map((n) => run(() => add(`next ${n}`))))).toEqual({ done: 6, errors: [] });
    expect(await notes.seen()).toEqual(numbers(6).map((n) => `next ${n}`));
  });

  it('fail when the error of a statement was caught, because PostgreSQL does not commit them', async () => {
    let ran = 0;
    const aborted = run(async () => {
      await add('note');
      notes.work.unit.afterCommit(() => ran++);
      expect(await outcome(add('note'))).toBeInstanceOf(Error);
    });
    await expect(aborted).rejects.toThrow('aborted by a statement whose error was caught');
    expect([ran, await notes.seen()]).toEqual([0, []]);
  });

  it('fail alone with the error of their COMMIT, and leave a working connection', async () => {
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

  it('are rolled back after a second in a statement, and return their connection to the pool', async () => {
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

  it('time out after a second, in overlapping statements and in code that never waits', async () => {
    const slow = run(() => Promise.all([1, 2].map(() => notes.work.sql.all('SELECT pg_sleep(1.9)'))));
    const busy = run(async () => {
      for (const began = performance.now(); performance.now() - began < 1100;);
    });
    expect((await together([slow, busy])).errors.map(({ name }) => name)).toEqual(['UnitTimedOut', 'UnitTimedOut']);
    await run(() => add('next'));
    expect(await notes.seen()).toEqual(['next']);
  });

  it('fail because of the connection when the server was silent, although it answers the CancelRequest', async () => {
    const silent = run(async () => {
      await notes.work.sql.run('SET LOCAL statement_timeout = 0');
      await notes.work.sql.all('SELECT pg_sleep(20)');
    });
    expect(await outcome(silent)).toBeInstanceOf(DatabaseUnavailable);
    await run(() => add('next'));
    expect(await notes.seen()).toEqual(['next']);
  });

  it('run concurrently, one on each connection of the pool', async () => {
    let running = 0;
    let maxRunning = 0;
    const unit = async () => {
      maxRunning = Math.max(maxRunning, ++running);
      await notes.work.sql.all('SELECT pg_sleep(0.2)').finally(() => running--);
    };
    const runAll = async () => {
      await together(numbers(9).map(() => run(unit)));
      return maxRunning;
    };
    expect(await eventually(runAll, (concurrent) => concurrent >= 3)).toBe(3);
  });
});
