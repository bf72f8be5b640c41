import { setTimeout as wait } from 'node:timers/promises';
import { Logger } from '@nestjs/common';
import { requestContext, runInContext } from '../../src/infrastructure/observability/request-context.js';
import { UnitEnded, UnitTimedOut } from '../../src/infrastructure/persistence/sql.js';
import type { Unit } from '../../src/infrastructure/persistence/unit.js';
import { DATABASES } from '../support/databases.js';
import { Note, numbers, openNotes, outcome, signal, together, type Notes } from '../support/notes.js';

const ORDINARY = new Error('This work fails on purpose');

describe.each(DATABASES)('A unit of work on $kind', ({ fresh }) => {
  let notes: Notes;
  const add = (id: string) => notes.add(id);
  const run = <T>(work: () => Promise<T>) => notes.work.run(work);

  beforeAll(async () => {
    // One connection for all writers: whatever goes astray meets a neighbour.
    notes = await openNotes(await fresh(), { poolSize: 1 });
  });
  beforeEach(() => run(() => notes.work.sql.run('DELETE FROM note')));
  afterAll(() => notes.close());

  it('keeps what was committed, and nothing of the units beside it that failed', async () => {
    const { done, errors } = await together(
      numbers(300).map((n) =>
        run(async () => {
          await add(`first ${n}`);
          await notes.work.repository(Note).insert({ id: `second ${n}` });
          if (n % 2) throw ORDINARY;
        }),
      ),
    );
    expect(done).toBe(150);
    expect(new Set(errors)).toEqual(new Set([ORDINARY]));
    const even = numbers(150).map((n) => 2 * n);
    const expected = [...even.map((n) => `first ${n}`), ...even.map((n) => `second ${n}`)];
    expect(await notes.seen()).toEqual(expected.sort());
  });

  it('is on disk when its promise resolves, and not before', async () => {
    expect(await run(() => add('note').then(() => notes.seen()))).toEqual([]);
    const ids = numbers(100).map((n) => `note ${n}`);
    const missing: string[] = [];
    const look = async (id: string) => {
      if (!(await notes.seen()).includes(id)) missing.push(id);
    };
    await Promise.all(ids.map((id) => run(() => add(id)).then(() => look(id))));
    expect(missing).toEqual([]);
  });

  it('gives back what its work returned', async () => {
    const values = await Promise.all(numbers(20).map((n) => run(async () => ({ n }))));
    expect(values).toEqual(numbers(20).map((n) => ({ n })));
  });

  describe.each(['committed', 'rolled back'])('that was %s', (end) => {
    /** Runs a unit to its end. @returns what of it was kept outside */
    async function ended<T>(keep: (unit: Unit) => T): Promise<T> {
      let kept!: T;
      const unit = run(async () => {
        kept = keep(notes.work.unit);
        if (end === 'rolled back') throw ORDINARY;
      });
      expect(await outcome(unit)).toBe(end === 'committed' ? 'done' : ORDINARY);
      return kept;
    }

    it.each<[string, (unit: Unit) => Promise<unknown>]>([
      ['statement', (unit) => unit.sql.run(`INSERT INTO note (id) VALUES ('stray')`)],
      ['query', (unit) => unit.sql.all('SELECT id FROM note')],
      ['statement through the entity manager', (unit) => unit.manager.query(`INSERT INTO note VALUES ('stray')`)],
      ['repository.save()', (unit) => unit.manager.getRepository(Note).save({ id: 'stray' })],
      ['repository.insert()', (unit) => unit.manager.getRepository(Note).insert({ id: 'stray' })],
      ['nested transaction', (unit) => unit.manager.transaction((manager) => manager.insert(Note, { id: 'stray' }))],
      ['statement of its code', async () => add('stray')],
      ['repository of its code', async () => notes.work.repository(Note).save({ id: 'stray' })],
      ['unit of its code', () => run(async () => add('stray'))],
    ])('refuses a late %s, and its neighbour stays clean', async (_, late) => {
      const open = signal();
      const stray = await ended((unit) => outcomeOf(open.promise.then(() => late(unit))));
      await run(async () => {
        await add('neighbour');
        open.give();
        expect(await stray.outcome).toBeInstanceOf(UnitEnded);
      });
      expect(await notes.seen()).toEqual(['neighbour']);
    });

    it('throws at once for its manager, statements, and hooks', async () => {
      const check = await ended((unit) => {
        const late = signal();
        const checked = late.promise.then(() => {
          expect(() => notes.work.sql).toThrow(UnitEnded);
          expect(() => notes.work.unit).toThrow(UnitEnded);
          expect(() => notes.work.repository(Note)).toThrow(UnitEnded);
          expect(() => unit.beforeCommit(async () => {})).toThrow(UnitEnded);
          expect(() => unit.afterCommit(() => {})).toThrow(UnitEnded);
        });
        return { late, checked };
      });
      check.late.give();
      await check.checked;
    });
  });

  it.each(['save', 'insert'] as const)(
    'never lets an un-awaited repository.%s() outlive a rollback',
    async (method) => {
      const strays: Promise<unknown>[] = [];
      for (const turns of numbers(60)) {
        const unit = run(async () => {
          const repository = notes.work.repository(Note);
          // The unit ends while TypeORM is anywhere between its first and its last step.
          const late = async () => {
            for (let turn = 0; turn < turns; turn++) await Promise.resolve();
            await repository[method]({ id: `stray ${turns}` });
          };
          strays.push(outcome(late()));
          throw ORDINARY;
        });
        expect(await outcome(unit)).toBe(ORDINARY);
      }
      await run(() => add('neighbour'));
      await Promise.all(strays);
      expect(await notes.seen()).toEqual(['neighbour']);
    },
  );

  it('is rolled back when it takes over a second, and its neighbours commit', async () => {
    const neighbours = numbers(20).map((n) => run(() => add(`before ${n}`)));
    const slow = run(async () => {
      await add('slow');
      await wait(1300);
    });
    const later = numbers(20).map((n) => run(() => add(`later ${n}`)));
    expect(await outcome(slow)).toBeInstanceOf(UnitTimedOut);
    expect((await together([...neighbours, ...later])).errors).toEqual([]);
    const seen = await notes.seen();
    expect(seen).toHaveLength(40);
    expect(seen).not.toContain('slow');
  });

  it('refuses what a timed-out unit goes on to write', async () => {
    let stray!: Promise<unknown>;
    const slow = run(async () => {
      const { sql } = notes.work;
      const late = wait(1050);
      stray = outcome(late.then(() => sql.run(`INSERT INTO note (id) VALUES ('stray')`)));
      await late;
    });
    expect(await outcome(slow)).toBeInstanceOf(UnitTimedOut);
    await run(async () => {
      await add('neighbour');
      expect(await stray).toBeInstanceOf(UnitEnded);
    });
    expect(await notes.seen()).toEqual(['neighbour']);
  });

  it('runs in the context of its own caller, before, inside and after', async () => {
    const seen: unknown[] = [];
    await Promise.all(
      numbers(30).map((n) =>
        runInContext({ correlationId: `journey ${n}`, traceparent: '' }, async () => {
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
    expect(seen).toEqual(expect.arrayContaining(numbers(30).map((n) => Array(3).fill(`journey ${n}`))));
  });

  it('shows nobody what is not committed, and the reading side writes nothing', async () => {
    const { database } = notes;
    const read = () => database.read.all('SELECT id FROM note');
    await run(async () => {
      await add('note');
      expect(await notes.work.repository(Note).count()).toBe(1);
      expect(await read()).toEqual([]);
      expect(await database.reader.manager.count(Note)).toBe(0);
    });
    expect(await read()).toEqual([{ id: 'note' }]);
    await expect(add('unasked')).rejects.toMatchObject({ message: expect.stringMatching(/read-?only/i) });
    await expect(notes.work.repository(Note).save({ id: 'unasked' })).rejects.toMatchObject({
      message: expect.stringMatching(/read-?only/i),
    });
    expect(await notes.seen()).toEqual(['note']);
  });

  it('is joined by a unit inside it', async () => {
    const nested = run(async () => {
      const outer = notes.work.unit;
      await add('outer');
      await run(async () => {
        expect(notes.work.unit).toBe(outer);
        await add('inner');
      });
      expect(await notes.seen()).toEqual([]);
      throw ORDINARY;
    });
    expect(await outcome(nested)).toBe(ORDINARY);
    expect(await notes.seen()).toEqual([]);
  });

  it("isn't taken along by a nested TypeORM transaction that rolls back", async () => {
    await run(async () => {
      await add('before');
      const { manager } = notes.work.unit;
      const nested = manager.transaction(async (inner) => {
        await inner.insert(Note, { id: 'nested' });
        throw ORDINARY;
      });
      expect(await outcome(nested)).toBe(ORDINARY);
      await manager.transaction((inner) => inner.insert(Note, { id: 'second nested' }));
      await add('after');
    });
    expect(await notes.seen()).toEqual(['after', 'before', 'second nested']);
  });

  it('takes the same statement from the entity manager and below it', async () => {
    const statement = 'SELECT count(*) AS count FROM note';
    await run(async () => {
      const { manager, sql } = notes.work.unit;
      const above = await manager.query<unknown[]>(statement);
      expect(await sql.all(statement)).toEqual(above);
      expect(await manager.query(statement)).toEqual(above);
    });
  });

  it('runs its hooks before the commit inside it, and those after it when all can see it', async () => {
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

  it('is rolled back by a hook that throws before the commit, and never runs those after it', async () => {
    const order: string[] = [];
    const unit = run(async () => {
      await add('note');
      notes.work.unit.afterCommit(() => order.push('after'));
      notes.work.unit.beforeCommit(async () => Promise.reject(ORDINARY));
    });
    expect(await outcome(unit)).toBe(ORDINARY);
    expect(order).toEqual([]);
    expect(await notes.seen()).toEqual([]);
  });

  it('is committed whatever the hooks after it do, and so are its neighbours', async () => {
    let ran = 0;
    Logger.overrideLogger(false); // it would tell of each
    const units = numbers(10).map((n) =>
      run(async () => {
        await add(`note ${n}`);
        notes.work.unit.afterCommit(() => {
          throw ORDINARY;
        });
        notes.work.unit.afterCommit(() => ran++);
      }),
    );
    expect(await together(units)).toEqual({ done: 10, errors: [] });
    await run(() => add('next'));
    expect(await notes.seen()).toHaveLength(11);
    expect(ran).toBe(10);
  });

  it('has a failing COMMIT for an error, and nothing of it stays', async () => {
    const failing = run(async () => {
      await add('note');
      notes.work.unit.afterCommit(() => {
        throw new Error('There was no commit');
      });
      await notes.work.sql.run(`INSERT INTO reply (id, note) VALUES ('reply', 'no such note')`);
    });
    expect(await outcome(failing)).toMatchObject({ message: expect.stringMatching(/foreign key/i) as string });
    expect(await notes.seen()).toEqual([]);
    await run(() => add('next'));
    expect(await notes.seen()).toEqual(['next']);
  });
});

/** Wrapped, or whoever awaits its holder would wait for it, too. */
function outcomeOf(promise: Promise<unknown>): { outcome: Promise<'done' | Error> } {
  return { outcome: outcome(promise) };
}
