import { setTimeout as wait } from 'node:timers/promises';
import pg, { type ClientBase } from 'pg';
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

  const query = (text: string) => notes.work.unit.manager.query(text);

  it.each([
    '; COMMIT',
    '; commit',
    ';END;',
    '; ROLLBACK; BEGIN',
    '; -- now\n COMMIT; SELECT 1 / 0',
    '; START TRANSACTION',
  ])('can not end their transaction in a string of statements: INSERT …%s', async (ending) => {
    const refused = run(async () => {
      const error = await outcome(query(`INSERT INTO note (id) VALUES ('before')${ending}`));
      await add('in the transaction');
      throw error as Error;
    });
    await expect(refused).rejects.toThrow('is up to the unit of work');
    expect(await notes.seen()).toEqual([]);
  });

  it.each([
    `INSERT INTO note (id) VALUES ('; COMMIT'); SELECT 1`,
    `INSERT INTO note (id) VALUES (E'\\'; COMMIT'); SELECT 1`,
    `INSERT INTO note (id) VALUES ($a$; COMMIT$a$); SELECT 1`,
    `INSERT INTO note (id) VALUES ('x') -- ; COMMIT`,
    `INSERT INTO note (id) VALUES ('x') /* ; COMMIT */; SELECT 1 AS "; COMMIT"`,
    `DO $$ BEGIN INSERT INTO note (id) VALUES ('x'); END $$; SELECT 1`,
    `SAVEPOINT s; ROLLBACK TO s; ROLLBACK WORK TO SAVEPOINT s; INSERT INTO note (id) VALUES ('x')`,
    `CREATE FUNCTION pg_temp.one() RETURNS int LANGUAGE SQL BEGIN ATOMIC SELECT 1; END; INSERT INTO note (id) VALUES ('x')`,
  ])('may send a string of statements that keeps the transaction: %s', async (text) => {
    await run(() => query(text));
    expect(await notes.seen()).toHaveLength(1);
  });

  it.each(['COMMIT', 'COMMIT; BEGIN', 'COMMIT; SELECT 1 / 0'])(
    'fail when their transaction was ended in a way that is not refused: %s',
    async (ending) => {
      let ran = 0;
      const ended = run(async () => {
        notes.work.unit.afterCommit(() => ran++);
        // Only PostgreSQL has comments inside of comments.
        await outcome(
          query(
            `INSERT INTO note (id) VALUES ('before'); /* /* */ */ ${ending.replace('; BEGIN', '; /* /* */ */ BEGIN')}`,
          ),
        );
        notes.work.unit.atEnd({ store: async () => void ran++ }, 'a message');
      });
      await expect(ended).rejects.toThrow('ended its transaction');
      expect(ran).toBe(0);
      await run(() => add('next'));
      expect(await notes.seen()).toContain('next');
    },
  );

  it.each<[string, () => Promise<unknown>]>([
    ['counted one parameter too few', () => notes.work.sql.run('INSERT INTO note (id) VALUES ($1 || $2)', ['a'])],
    ['counted one parameter too many', () => notes.work.unit.manager.query('SELECT $1::text', ['a', 'b'])],
    [
      'has more parameters than PostgreSQL takes',
      () => notes.work.repository(Note).insert(numbers(70_000).map((n) => ({ id: `${n}` }))),
    ],
    ['raised the code of a lost connection', () => raise('08006')],
    ['raised the code of a full disk', () => raise('53100')],
    ['raised the code of damaged data', () => raise('XX001')],
    ['raised the code of a standby', () => raise('25006')],
    ['read a file that is missing', () => notes.work.sql.all(`SELECT pg_read_file('absent')`)],
    [
      'lost its connection to another system',
      () => reject(Object.assign(new Error('no cache'), { code: 'ECONNREFUSED' })),
    ],
    ['deadlocked in another database', () => reject(Object.assign(new Error('deadlock'), { code: '40P01' }))],
    ['threw an error with the words of a driver', () => reject(new Error('Carrier: connection error 4711'))],
  ])('fail through their own fault when one %s', async (_, fail) => {
    let runs = 0;
    const failing = async () => {
      runs++;
      await fail();
    };
    const error = await outcome(run(failing));
    expect(error).toBeInstanceOf(Error);
    expect(error).not.toBeInstanceOf(DatabaseUnavailable);
    const wrapped = run(() =>
      failing().catch((cause: unknown) => {
        throw new Error('wrapped', { cause });
      }),
    );
    await expect(wrapped).rejects.toThrow('wrapped');
    expect(runs).toBe(2);
    await run(() => add('next'));
    expect(await notes.seen()).toEqual(['next']);
  });
  const raise = (code: string) =>
    notes.work.sql.run(`DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '${code}'; END $$`);
  const reject = (error: Error) => Promise.reject(error);

  it('fail through the fault of the database when its fault is wrapped, or another error hides it', async () => {
    const failing = () => notes.work.sql.run('SELECT * FROM mesh_absent');
    const inSavepoint = () => notes.work.unit.manager.transaction(failing);
    const errorOf = async (prepare: () => Promise<unknown>, message: string) =>
      outcome(
        run(async () => {
          const cause = await outcome(prepare());
          throw new Error(message, message === 'wrapped' ? { cause } : {});
        }),
      );
    expect(await errorOf(failing, 'hidden')).toBeInstanceOf(DatabaseUnavailable);
    expect(await errorOf(inSavepoint, 'wrapped')).toBeInstanceOf(DatabaseUnavailable);
    // The savepoint took the fault back, and the unit failed for a reason of its own.
    expect(await errorOf(inSavepoint, 'mine')).toMatchObject({ name: 'Error', message: 'mine' });
  });

  it('fail through the fault of a lost connection, also when they throw an error of their own', async () => {
    const lost = run(async () => {
      await add('before');
      await outcome(terminate(await backendPid()));
      await outcome(add('after'));
      throw new Error('mine');
    });
    expect(await outcome(lost)).toBeInstanceOf(DatabaseUnavailable);
    await run(() => add('next'));
    expect(await notes.seen()).toEqual(['next']);
  });

  describe('with a cursor', () => {
    type Next = (connection: Connection) => unknown;
    /** Opens a cursor for five rows that reads two at a time. `suspended` is called when it has read two and may go on. */
    const open = async (suspended: (next: () => unknown, connection: PgConnection) => unknown) => {
      const client = (await notes.work.unit.manager.queryRunner!.connect()) as pg.ClientBase;
      return new Promise<void>((resolve, reject) => {
        const cursor = new pg.Query({ text: 'SELECT generate_series(1, 5) AS n', rows: 2 } as pg.QueryConfig);
        const goOn = (cursor as unknown as { handlePortalSuspended: Next }).handlePortalSuspended.bind(cursor);
        Object.assign(cursor, {
          handlePortalSuspended: (connection: Connection & PgConnection) => {
            suspended(() => goOn(connection), connection);
            resolve();
          },
        });
        cursor.on('error', reject);
        client.query(cursor);
      });
    };
    interface PgConnection {
      close(portal: { type: 'P' }): void;
      sync(): void;
    }
    const timed = async (promise: Promise<unknown>) => {
      const began = performance.now();
      const result = await outcome(promise);
      return { result, ms: performance.now() - began };
    };
    const works = async () => {
      expect(await together(numbers(6).map((n) => run(() => add(`next ${n}`))))).toEqual({ done: 6, errors: [] });
    };

    it.each(['ends', 'throws'])('that is left open fail at once when one %s', async (how) => {
      const { result, ms } = await timed(
        run(async () => {
          await add('before');
          await open(() => undefined);
          if (how === 'throws') throw new Error('mine');
        }),
      );
      expect(result).toMatchObject(
        how === 'throws'
          ? { message: 'mine' }
          : { name: 'UnitEnded', message: expect.stringContaining('neither read to its end nor closed') as string },
      );
      expect(ms).toBeLessThan(1000);
      await works();
      expect(await notes.seen()).not.toContain('before');
    });

    it('time out when they wait for a statement for each row', async () => {
      const { result, ms } = await timed(
        run(async () => {
          await open((next) => void add('row').then(next, () => undefined));
          await add('after');
        }),
      );
      expect(result).toMatchObject({ name: 'UnitTimedOut' });
      expect(ms).toBeLessThan(2000);
      await works();
    });

    it('that is closed are committed, also before the server has answered', async () => {
      await run(async () => {
        await add('before');
        await open((_, connection) => {
          connection.close({ type: 'P' });
          connection.sync();
        });
      });
      expect(await notes.seen()).toEqual(['before']);
    });
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
