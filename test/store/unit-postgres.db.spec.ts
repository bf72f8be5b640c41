import { setTimeout as wait } from 'node:timers/promises';
import type { ClientBase } from 'pg';
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

  describe('that change their session', () => {
    let alone: Notes;
    beforeAll(async () => (alone = await openNotes(await postgres!.fresh(), { poolSize: 1 })));
    afterAll(() => alone.close());

    /** The process of the session that the statements ran in, and of the one that comes next. */
    const pids = async (statements: readonly string[]) => {
      const pidAfter = (...before: readonly string[]) =>
        alone.work.run(async () => {
          for (const it of before) await alone.work.unit.manager.query(it);
          const [row] = await alone.work.sql.all<{ pid: number }>('SELECT pg_backend_pid() AS pid');
          return row!.pid;
        });
      return [await pidAfter(...statements), await pidAfter()];
    };

    it.each([
      ['SET search_path = nowhere'],
      ['-- a tenant;\n/* of * ours */ set\nsession search_path to nowhere'],
      ["UPDATE note SET id = 'b'; SET ROLE NONE"],
      ['RESET search_path'],
      ['SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY'],
      ['DISCARD TEMP'],
      ["SELECT set_config('search_path', 'a', true), set_config('search_path', 'nowhere', false)"],
      ['LISTEN news'],
      ['PREPARE mine AS SELECT 1'],
      ['DEALLOCATE ALL'],
      ['CREATE TEMP TABLE note (id int)'],
      ['SELECT pg_advisory_lock(1)'],
    ])('do not hand it on: %s', async (statement) => {
      const [changed, next] = await pids([statement]);
      expect(next).not.toBe(changed);
      await alone.work.run(() => alone.work.sql.all("SELECT id FROM note WHERE id = 'none'"));
    });

    it.each([
      ['SET LOCAL search_path = nowhere'],
      ['SET  /* for now */ LOCAL search_path = nowhere'],
      ['SET TRANSACTION READ WRITE'],
      ['SET CONSTRAINTS ALL DEFERRED'],
      ["SELECT set_config('search_path', 'nowhere', true)"],
      ["UPDATE note\nSET id = 'b'"],
      ["UPDATE note -- first; then\nSET id = 'b'"],
      ["INSERT INTO note VALUES ('c') ON CONFLICT (id) DO UPDATE SET id = 'c'"],
      ['CREATE TEMP TABLE passing (id int) ON COMMIT DROP'],
      ['SELECT pg_advisory_xact_lock(1)'],
    ])('until their end only leave it to the pool: %s', async (statement) => {
      const [first, next] = await pids([statement]);
      expect(next).toBe(first);
    });

    it('leave the settings of the next ones alone, also when they fail, and reads outside of units do', async () => {
      const change = () => alone.work.sql.run('SET search_path = nowhere');
      await alone.work.run(change);
      await expect(alone.work.run(() => change().then(() => Promise.reject(new Error('fails'))))).rejects.toThrow();
      await change();
      await alone.work.run(() => alone.add('kept'));
      expect(await alone.work.sql.all("SELECT id FROM note WHERE id = 'kept'")).toEqual([{ id: 'kept' }]);
    });
  });

  describe('that catch the error of a value which cannot be sent', () => {
    const cyclic: Record<string, unknown> = {};
    cyclic.me = cyclic;
    const nested: unknown[] = [];
    nested.push(nested);
    const text = 'SELECT $1::text AS value';
    const ways: [string, (value: never) => Promise<unknown>][] = [
      ['the manager of a unit', (value) => run(() => notes.work.unit.manager.query(text, [value]))],
      ['plain statements of a unit', (value) => run(() => notes.work.sql.all(text, [value]))],
      ['plain statements outside of units', (value) => notes.work.sql.all(text, [value])],
      [
        'the connection of a unit, by a name of its own',
        (value) =>
          run(async () => {
            const connection = (await notes.work.unit.manager.queryRunner!.connect()) as ClientBase;
            return (await connection.query({ name: 'mine', text, values: [value] })).rows;
          }),
      ],
    ];

    it.each(ways)('leave the statement usable: %s', async (_, send) => {
      const good = () => together(numbers(6).map((n) => send(String(n) as never)));
      expect(await good()).toEqual({ done: 6, errors: [] });
      const failing = { toPostgres: () => JSON.parse('{') as unknown };
      for (const bad of [cyclic, { n: 1n }, failing, [cyclic], nested]) {
        const errors = await together(numbers(3).map(() => send(bad as never)));
        expect(errors.done).toBe(0);
        expect(errors.errors.map(({ name }) => name)).not.toContain('DatabaseUnavailable');
        expect(await good()).toEqual({ done: 6, errors: [] });
      }
    });

    it('go on preparing the statements with other values', async () => {
      const values = ['a', 1, 2n, true, null, undefined, new Date(0), Buffer.from('b'), ['c', null, [1n]]];
      const lengths = `SELECT ${values.map((_, n) => `length($${n + 1}::text) AS c${n}`).join(', ')}`;
      const { manager, sql } = { manager: () => notes.work.unit.manager, sql: () => notes.work.sql };
      const prepared = 'SELECT count(*)::int AS count FROM pg_prepared_statements WHERE statement = $1';
      const counts = await run(async () => {
        for (let n = 0; n < 4; n++) await manager().query(lengths, values.with(8, ['c', null]));
        return sql().all(prepared, [lengths]);
      });
      expect(counts).toEqual([{ count: 1 }]);
      const [row] = await run(() => manager().query<object[]>(lengths, values));
      expect(row).toMatchObject({ c0: 1, c1: 1, c2: 1, c3: 4, c4: null, c5: null, c7: 1, c8: 16 });
    });
  });
});
