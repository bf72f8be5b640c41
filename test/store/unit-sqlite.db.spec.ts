import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';
import { jest } from '@jest/globals';
import type { DataSource } from 'typeorm';
import { DatabaseUnavailable } from '../../src/infrastructure/persistence/sql.js';
import { sqliteConnection } from '../../src/infrastructure/persistence/sqlite/sqlite-statements.js';
import type { UnitOptions } from '../../src/infrastructure/persistence/unit.js';
import { DATABASES } from '../support/databases.js';
import { Note, numbers, openNotes, outcome, together, type Notes } from '../support/notes.js';

// A group closes after 4 ms, also when the machine is busy elsewhere meanwhile: then a unit has no neighbours to look at.
jest.retryTimes(2);

describe('On SQLite', () => {
  let location: string;
  let notes: Notes;
  const add = (id: string) => notes.add(id);
  const run = <T>(work: () => Promise<T>, options?: UnitOptions) => notes.work.run(work, options);

  beforeEach(async () => {
    location = await DATABASES.find(({ kind }) => kind === 'sqlite')!.fresh();
    notes = await openNotes(location);
  });
  afterEach(() => notes.close());

  /** How often the log of the database was committed. */
  function commits(): number {
    const log = readFileSync(`${location.slice('sqlite:'.length)}-wal`);
    const frame = 24 + log.readUInt32BE(8);
    // Of the last frame of a COMMIT, and of no other, the header says how large the database is then.
    const starts = numbers(Math.floor((log.length - 32) / frame)).map((n) => 32 + n * frame);
    return starts.filter((start) => log.readUInt32BE(start + 4) > 0).length;
  }

  it('units that come together share a COMMIT, and those that come one by one have their own', async () => {
    const before = commits();
    await Promise.all(numbers(200).map((n) => run(() => add(`together ${n}`))));
    const shared = commits() - before;
    expect(shared).toBeGreaterThanOrEqual(1);
    expect(shared).toBeLessThan(20);
    for (const n of numbers(10)) await run(() => add(`alone ${n}`));
    expect(commits() - before - shared).toBe(10);
  });

  it('a unit that fails in the midst of a group leaves its neighbours in the same COMMIT', async () => {
    const before = commits();
    const { done } = await together(
      numbers(9).map((n) => run(() => add(`note ${n}`).then(() => (n % 2 ? Promise.reject(new Error()) : undefined)))),
    );
    expect([done, commits() - before]).toEqual([5, 1]);
    expect(await notes.seen()).toEqual([0, 2, 4, 6, 8].map((n) => `note ${n}`));
  });

  it('messages go before requests, one of which comes after every twelve', async () => {
    const order: string[] = [];
    const unit = (what: string, options = {}) => run(async () => void order.push(what), options);
    const requests = numbers(3).map(() => unit('request'));
    await Promise.all([...requests, ...numbers(30).map(() => unit('message', { isMessage: true }))]);
    const twelve = Array<string>(12).fill('message');
    expect(order).toEqual([...twelve, 'request', ...twelve, 'request', ...twelve.slice(6), 'request']);
  });

  it('the unit that closes a group comes last, sees the others, and shares their COMMIT', async () => {
    const before = commits();
    const closing = run(
      async () => {
        await add('closing');
        return notes.work.sql.all('SELECT id FROM note ORDER BY id');
      },
      { closesGroup: true },
    );
    await run(() => add('another'));
    expect(await closing).toEqual([{ id: 'another' }, { id: 'closing' }]);
    expect(commits() - before).toBe(1);
  });

  describe('when the disk is full, and SQLite rolls back by itself,', () => {
    const LARGE = 'x'.repeat(100_000);
    const limitPages = (pages: number) => run(() => notes.work.sql.all(`PRAGMA max_page_count = ${pages}`));

    beforeEach(() => limitPages(1)); // at least what it has
    const more: [string, (id: string) => Promise<unknown>][] = [
      ['statement', (id) => add(id)],
      ['repository', (id) => notes.work.repository(Note).insert({ id })],
    ];

    it.each(more)(
      'a unit that swallows the error writes nothing more by %s, and its group is told',
      async (_, write) => {
        const after: unknown[] = [];
        const group = [
          run(() => add('before')),
          run(async () => {
            await write('first');
            expect(await outcome(write(LARGE))).toBeInstanceOf(DatabaseUnavailable);
            after.push(await outcome(Promise.resolve('after').then(write)));
          }),
        ];
        const { done, errors } = await together(group);
        expect(done).toBe(0);
        expect(errors.map(({ name }) => name)).toEqual(['DatabaseUnavailable', 'DatabaseUnavailable']);
        expect(after).toEqual([expect.any(DatabaseUnavailable)]);
        expect(await notes.seen()).toEqual([]);
      },
    );

    it('the units behind go on in a new group, and everything works again when there is room', async () => {
      const [full, behind] = [run(() => add(LARGE)), run(() => add('behind'))];
      expect(await outcome(full)).toBeInstanceOf(DatabaseUnavailable);
      expect(await outcome(behind)).toBe('done');
      await limitPages(1_000_000);
      await run(() => add(LARGE));
      expect(await notes.seen()).toEqual(['behind', LARGE]);
    });

    it('no hook runs that waited for the commit', async () => {
      let ran = 0;
      const units = [
        run(async () => {
          await add('before');
          notes.work.unit.afterCommit(() => ran++);
        }),
        run(() => add(LARGE)),
      ];
      expect((await together(units)).done).toBe(0);
      expect(ran).toBe(0);
    });
  });

  it('a COMMIT that fails rejects every unit of its group, and the next group commits', async () => {
    let ran = 0;
    const group = numbers(5).map((n) =>
      run(async () => {
        await add(`note ${n}`);
        notes.work.unit.afterCommit(() => ran++);
        if (n === 2) await notes.work.sql.run(`INSERT INTO reply (id, note) VALUES ('reply', 'no such note')`);
      }),
    );
    const { done, errors } = await together(group);
    expect(done).toBe(0);
    expect(errors).toEqual(Array(5).fill(expect.any(DatabaseUnavailable)));
    expect((errors[0]!.cause as Error).message).toBe('FOREIGN KEY constraint failed');
    expect([ran, await notes.seen()]).toEqual([0, []]);
    await run(() => add('next'));
    expect(await notes.seen()).toEqual(['next']);
  });

  describe('when a constraint is broken that is looked at with the COMMIT,', () => {
    const prelude = { batchKey: 'notes', load: async (_: unknown, items: readonly number[]) => items };
    const breakIt = () => notes.work.sql.run(`INSERT INTO reply (id, note) VALUES ('reply', 'no such note')`);
    /** One that may be run again. */
    const message = (n: number, isGuilty = false) =>
      notes.work.runInBatch(prelude, n, async () => {
        await add(`message ${n}`);
        if (isGuilty) await breakIt();
      });

    it('those who may be run again are, each alone, and the error is that of whose fault it was', async () => {
      const { done, errors } = await together(numbers(9).map((n) => message(n, n === 4)));
      expect([done, errors]).toEqual([8, [expect.objectContaining({ code: 'SQLITE_CONSTRAINT_FOREIGNKEY' })]]);
      expect(await notes.seen()).toEqual([0, 1, 2, 3, 5, 6, 7, 8].map((n) => `message ${n}`));
    });

    it('whoever comes back with it takes nobody along for a while', async () => {
      const request = (id: string) => run(() => add(id));
      await together([message(0, true), request('first')]);
      for (const n of numbers(5)) {
        const neighbours = numbers(20).map((k) => request(`${n} ${k}`));
        const guilty = outcome(message(0, true));
        expect(await together([...neighbours, message(100 + n)])).toEqual({ done: 21, errors: [] });
        expect(await guilty).toMatchObject({ code: 'SQLITE_CONSTRAINT_FOREIGNKEY' });
      }
    });

    it('one that may not be run again learns whose fault it was when it comes back', async () => {
      const both = () => together([run(() => add('innocent')), run(breakIt)]);
      expect((await both()).errors).toEqual([expect.any(DatabaseUnavailable), expect.any(DatabaseUnavailable)]);
      expect((await both()).errors).toEqual([expect.objectContaining({ code: 'SQLITE_CONSTRAINT_FOREIGNKEY' })]);
      expect(await notes.seen()).toEqual(['innocent']);
    });

    it('one that is alone with what closes its group learns at once, and one that comes back later is still apart', async () => {
      const closing = () => run(async () => undefined, { closesGroup: true });
      const guilty = () => together([run(breakIt), closing()]);
      const own = expect.objectContaining({ code: 'SQLITE_CONSTRAINT_FOREIGNKEY' }) as Error;
      expect((await guilty()).errors).toEqual([own, expect.any(DatabaseUnavailable)]);
      await together([run(() => add('neighbour')), run(breakIt)]);
      await wait(1200);
      expect((await together([run(() => add('innocent')), run(breakIt)])).errors).toEqual([own]);
    });

    it('and the ROLLBACK fails, too, that is made good before the next group', async () => {
      const db = sqliteConnection((notes.database as unknown as { writer: DataSource }).writer);
      const rollback = jest.spyOn(db, 'exec').mockImplementationOnce(() => {
        throw new Error('disk I/O error');
      });
      expect(await outcome(run(breakIt))).toMatchObject({ code: 'SQLITE_CONSTRAINT_FOREIGNKEY' });
      await run(() => add('next'));
      expect(rollback).toHaveBeenCalledTimes(2);
      rollback.mockRestore();
      expect(await notes.seen()).toEqual(['next']);
    });
  });

  describe('while another process writes,', () => {
    /** Another process that holds the write lock for `ms`; resolves when it does. */
    async function lockedFor(ms: number) {
      const program = `
        const db = require('better-sqlite3')(process.argv[1]);
        db.exec('BEGIN IMMEDIATE');
        console.log('locked');
        setTimeout(() => { db.exec('COMMIT'); db.close(); }, ${ms});`;
      const child = spawn(process.execPath, ['-e', program, location.slice('sqlite:'.length)], { stdio: 'pipe' });
      const ended = once(child, 'exit');
      await once(child.stdout, 'data');
      return { stop: () => child.kill('SIGKILL'), ended };
    }

    /** @returns how long the process stood still while `work` ran, in ms, the longest first */
    async function standstills(work: () => Promise<unknown>): Promise<number[]> {
      const gaps: number[] = [];
      let last = performance.now();
      const timer = setInterval(() => {
        gaps.push(performance.now() - last);
        last = performance.now();
      }, 1);
      await work();
      clearInterval(timer);
      return gaps.sort((a, b) => b - a);
    }

    it('units wait without blocking the process, and go through when it lets go', async () => {
      const other = await lockedFor(1500);
      const started = performance.now();
      const units = () => Promise.all(numbers(5).map((n) => run(() => add(`note ${n}`))));
      const gaps = await standstills(units);
      expect(performance.now() - started).toBeGreaterThan(1000);
      expect(await notes.seen()).toHaveLength(5);
      // Each try may stand still for the busy timeout. Two may be longer: this machine has other things to do.
      expect(gaps[2]).toBeLessThan(60);
      expect(gaps.length).toBeGreaterThan(50);
      await other.ended;
    });

    it('units are refused after five seconds, and reading goes on', async () => {
      await run(() => add('before'));
      const other = await lockedFor(60_000);
      const started = performance.now();
      const refused = outcome(run(() => add('refused')));
      expect(await notes.database.read.all('SELECT id FROM note')).toEqual([{ id: 'before' }]);
      expect(await refused).toBeInstanceOf(DatabaseUnavailable);
      const waited = performance.now() - started;
      expect(waited).toBeGreaterThan(4900);
      expect(waited).toBeLessThan(6500);
      other.stop();
      await other.ended;
      await run(() => add('after'));
      expect(await notes.seen()).toEqual(['after', 'before']);
    });
  });
});
