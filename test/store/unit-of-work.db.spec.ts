import { setTimeout as wait } from 'node:timers/promises';
import { Logger } from '@nestjs/common';
import { requestContext, runInContext } from '../../src/infrastructure/observability/request-context.js';
import { UnitEnded, UnitTimedOut } from '../../src/infrastructure/persistence/sql.js';
import type { Unit } from '../../src/infrastructure/persistence/unit.js';
import { DATABASES } from '../support/databases.js';
import { deferred, Note, numbers, openNotes, outcome, together, type Notes } from '../support/notes.js';

const FAILURE = new Error('The test lets this unit of work fail');

describe.each(DATABASES)('A unit of work on $kind', ({ fresh }) => {
  let notes: Notes;
  const add = (id: string) => notes.add(id);
  const run = <T>(work: () => Promise<T>) => notes.work.run(work);

  beforeAll(async () => {
    // One connection for all writers, so that a late statement would reach another unit.
    notes = await openNotes(await fresh(), { poolSize: 1 });
  });
  beforeEach(() => run(() => notes.work.sql.run('DELETE FROM note')));
  afterAll(() => notes.close());

  it('commits its rows, and none of concurrent units that fail', async () => {
    const { done, errors } = await together(
      numbers(300).map((n) =>
        run(async () => {
          await add(`first ${n}`);
          await notes.work.repository(Note).insert({ id: `second ${n}` });
          if (n % 2) throw FAILURE;
        }),
      ),
    );
    expect(done).toBe(150);
    expect(new Set(errors)).toEqual(new Set([FAILURE]));
    const even = numbers(150).map((n) => 2 * n);
    const expected = [...even.map((n) => `first ${n}`), ...even.map((n) => `second ${n}`)];
    expect(await notes.seen()).toEqual(expected.sort());
  });

  it('is committed when its promise resolves, and not before', async () => {
    expect(await run(() => add('note').then(() => notes.seen()))).toEqual([]);
    const ids = numbers(100).map((n) => `note ${n}`);
    const missing: string[] = [];
    const check = async (id: string) => {
      if (!(await notes.seen()).includes(id)) missing.push(id);
    };
    await Promise.all(ids.map((id) => run(() => add(id)).then(() => check(id))));
    expect(missing).toEqual([]);
  });

  it('resolves to the result of its work', async () => {
    const values = await Promise.all(numbers(20).map((n) => run(async () => ({ n }))));
    expect(values).toEqual(numbers(20).map((n) => ({ n })));
  });

  describe.each(['committed', 'rolled back'])('that was %s', (end) => {
    /** Runs a unit to its end. @returns the result of `keep`, which outlives the unit */
    async function ended<T>(keep: (unit: Unit) => T): Promise<T> {
      let kept!: T;
      const unit = run(async () => {
        kept = keep(notes.work.unit);
        if (end === 'rolled back') throw FAILURE;
      });
      expect(await outcome(unit)).toBe(end === 'committed' ? 'done' : FAILURE);
      return kept;
    }

    it.each<[string, (unit: Unit) => Promise<unknown>]>([
      ['statement', (unit) => unit.sql.run(`INSERT INTO note (id) VALUES ('stray')`)],
      ['query', (unit) => unit.sql.all('SELECT id FROM note')],
      ['statement through the entity manager', (unit) => unit.manager.query(`INSERT INTO note VALUES ('stray')`)],
      ['repository.save()', (unit) => unit.manager.getRepository(Note).save({ id: 'stray' })],
      ['repository.insert()', (unit) => unit.manager.getRepository(Note).insert({ id: 'stray' })],
      ['nested transaction', (unit) => unit.manager.transaction((manager) => manager.insert(Note, { id: 'stray' }))],
      ['statement in its async context', async () => add('stray')],
      ['repository in its async context', async () => notes.work.repository(Note).save({ id: 'stray' })],
      ['unit in its async context', () => run(async () => add('stray'))],
    ])('refuses a late %s, and the next unit is unaffected', async (_, late) => {
      const nextRuns = deferred();
      const stray = await ended((unit) => outcomeOf(nextRuns.promise.then(() => late(unit))));
      await run(async () => {
        await add('next unit');
        nextRuns.resolve();
        expect(await stray.outcome).toBeInstanceOf(UnitEnded);
      });
      expect(await notes.seen()).toEqual(['next unit']);
    });

    it('refuses access to its manager, statements and hooks', async () => {
      const check = await ended((unit) => {
        const late = deferred();
        const checked = late.promise.then(() => {
          expect(() => notes.work.sql).toThrow(UnitEnded);
          expect(() => notes.work.unit).toThrow(UnitEnded);
          expect(() => notes.work.repository(Note)).toThrow(UnitEnded);
          expect(() => unit.beforeCommit(async () => {})).toThrow(UnitEnded);
          expect(() => unit.afterCommit(() => {})).toThrow(UnitEnded);
        });
        return { late, checked };
      });
      check.late.resolve();
      await check.checked;
    });
  });

  it.each(['save', 'insert'] as const)('rolls back a repository.%s() that was not awaited', async (method) => {
    const strays: Promise<unknown>[] = [];
    for (const turns of numbers(60)) {
      const unit = run(async () => {
        const repository = notes.work.repository(Note);
        // The unit ends at a different step of TypeORM in each round.
        const late = async () => {
          for (let turn = 0; turn < turns; turn++) await Promise.resolve();
          await repository[method]({ id: `stray ${turns}` });
        };
        strays.push(outcome(late()));
        throw FAILURE;
      });
      expect(await outcome(unit)).toBe(FAILURE);
    }
    await run(() => add('next unit'));
    await Promise.all(strays);
    expect(await notes.seen()).toEqual(['next unit']);
  });

  it('is rolled back when it takes more than a second, and concurrent units commit', async () => {
    const earlier = numbers(20).map((n) => run(() => add(`before ${n}`)));
    const slow = run(async () => {
      await add('slow');
      await wait(1300);
    });
    const later = numbers(20).map((n) => run(() => add(`later ${n}`)));
    expect(await outcome(slow)).toBeInstanceOf(UnitTimedOut);
    expect((await together([...earlier, ...later])).errors).toEqual([]);
    const seen = await notes.seen();
    expect(seen).toHaveLength(40);
    expect(seen).not.toContain('slow');
  });

  it('refuses late statements of a unit that timed out', async () => {
    let stray!: Promise<unknown>;
    const slow = run(async () => {
      const { sql } = notes.work;
      const late = wait(1050);
      stray = outcome(late.then(() => sql.run(`INSERT INTO note (id) VALUES ('stray')`)));
      await late;
    });
    expect(await outcome(slow)).toBeInstanceOf(UnitTimedOut);
    await run(async () => {
      await add('next unit');
      expect(await stray).toBeInstanceOf(UnitEnded);
    });
    expect(await notes.seen()).toEqual(['next unit']);
  });

  it('runs in the request context of its caller', async () => {
    const seen: unknown[] = [];
    await Promise.all(
      numbers(30).map((n) =>
        runInContext({ correlationId: `request ${n}`, traceparent: '' }, async () => {
          const inside = await run(async () => {
            const before = requestContext()?.correlationId;
            await add(`note ${n}`);
            return [before, requestContext()?.correlationId];
          });
          seen.push([...inside, requestContext()?.correlationId]);
        }),
      ),
    );
    expect(seen).toHaveLength(30);
    expect(seen).toEqual(expect.arrayContaining(numbers(30).map((n) => Array(3).fill(`request ${n}`))));
  });

  it('is invisible to readers before its commit, and readers can’t write', async () => {
    const { database } = notes;
    const read = () => database.read.all('SELECT id FROM note');
    await run(async () => {
      await add('note');
      expect(await notes.work.repository(Note).count()).toBe(1);
      expect(await read()).toEqual([]);
      expect(await database.reader.manager.count(Note)).toBe(0);
    });
    expect(await read()).toEqual([{ id: 'note' }]);
    await expect(add('refused')).rejects.toMatchObject({ message: expect.stringMatching(/read-?only/i) });
    await expect(notes.work.repository(Note).save({ id: 'refused' })).rejects.toMatchObject({
      message: expect.stringMatching(/read-?only/i),
    });
    expect(await notes.seen()).toEqual(['note']);
  });

  it('is joined by a nested unit', async () => {
    const nested = run(async () => {
      const outer = notes.work.unit;
      await add('outer');
      await run(async () => {
        expect(notes.work.unit).toBe(outer);
        await add('inner');
      });
      expect(await notes.seen()).toEqual([]);
      throw FAILURE;
    });
    expect(await outcome(nested)).toBe(FAILURE);
    expect(await notes.seen()).toEqual([]);
  });

  it('commits although a nested TypeORM transaction rolls back', async () => {
    await run(async () => {
      await add('before');
      const { manager } = notes.work.unit;
      const nested = manager.transaction(async (inner) => {
        await inner.insert(Note, { id: 'nested' });
        throw FAILURE;
      });
      expect(await outcome(nested)).toBe(FAILURE);
      await manager.transaction((inner) => inner.insert(Note, { id: 'second nested' }));
      await add('after');
    });
    expect(await notes.seen()).toEqual(['after', 'before', 'second nested']);
  });

  it('executes the same statement by the entity manager and by its own interface', async () => {
    const statement = 'SELECT count(*) AS count FROM note';
    await run(async () => {
      const { manager, sql } = notes.work.unit;
      const rows = await manager.query<unknown[]>(statement);
      expect(await sql.all(statement)).toEqual(rows);
      expect(await manager.query(statement)).toEqual(rows);
    });
  });

  it('runs beforeCommit hooks inside, and afterCommit hooks when the commit is visible', async () => {
    const order: string[] = [];
    let seen!: Promise<string[]>;
    await run(async () => {
      const { unit } = notes.work;
      unit.afterCommit(() => {
        order.push('after');
        seen = notes.seen();
      });
      unit.beforeCommit(async () => {
        order.push('before');
        await add('hook');
      });
      order.push('work');
    });
    expect(order).toEqual(['work', 'before', 'after']);
    expect(await seen).toEqual(['hook']);
  });

  it('is rolled back without afterCommit hooks when a beforeCommit hook fails', async () => {
    const order: string[] = [];
    const unit = run(async () => {
      await add('note');
      notes.work.unit.afterCommit(() => order.push('after'));
      notes.work.unit.beforeCommit(async () => Promise.reject(FAILURE));
    });
    expect(await outcome(unit)).toBe(FAILURE);
    expect(order).toEqual([]);
    expect(await notes.seen()).toEqual([]);
  });

  it('is committed with concurrent units although its afterCommit hooks throw', async () => {
    let ran = 0;
    Logger.overrideLogger(false); // silences the log lines of the hooks
    const units = numbers(10).map((n) =>
      run(async () => {
        await add(`note ${n}`);
        notes.work.unit.afterCommit(() => {
          throw FAILURE;
        });
        notes.work.unit.afterCommit(() => ran++);
      }),
    );
    expect(await together(units)).toEqual({ done: 10, errors: [] });
    await run(() => add('next'));
    expect(await notes.seen()).toHaveLength(11);
    expect(ran).toBe(10);
  });

  it('fails with the error of its COMMIT, and leaves no rows', async () => {
    const failing = run(async () => {
      await add('note');
      notes.work.unit.afterCommit(() => {
        throw new Error('The unit was not committed');
      });
      await notes.work.sql.run(`INSERT INTO reply (id, note) VALUES ('reply', 'no such note')`);
    });
    expect(await outcome(failing)).toMatchObject({ message: expect.stringMatching(/foreign key/i) as string });
    expect(await notes.seen()).toEqual([]);
    await run(() => add('next'));
    expect(await notes.seen()).toEqual(['next']);
  });
});

/** Wraps the outcome in an object: an await of the object doesn't wait for the outcome. */
function outcomeOf(promise: Promise<unknown>): { outcome: Promise<'done' | Error> } {
  return { outcome: outcome(promise) };
}
