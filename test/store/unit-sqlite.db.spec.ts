import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';
import { jest } from '@jest/globals';
import type { DataSource } from 'typeorm';
import { problemOf } from '../../src/infrastructure/http/problem.js';
import { DatabaseUnavailable } from '../../src/infrastructure/persistence/sql.js';
import { sqliteConnection } from '../../src/infrastructure/persistence/sqlite/sqlite-statements.js';
import type { UnitOptions } from '../../src/infrastructure/persistence/unit.js';
import { expectFasterThan } from '../support/cabs.js';
import { BETTER_SQLITE3, DATABASES } from '../support/databases.js';
import { Note, numbers, openNotes, outcome, together, type Notes } from '../support/notes.js';

// A group closes after 4 ms. On a busy machine the other units of a test may come too late for it.
jest.retryTimes(5);

describe('Units of work on SQLite', () => {
  let location: string;
  let notes: Notes;
  const add = (id: string) => notes.add(id);
  const run = <T>(work: () => Promise<T>, options?: UnitOptions) => notes.work.run(work, options);

  beforeEach(async () => {
    location = await DATABASES.find(({ kind }) => kind === 'sqlite')!.fresh();
    notes = await openNotes(location);
  });
  afterEach(() => notes.close());

  /** Number of commits in the write-ahead log. */
  function commits(): number {
    const log = readFileSync(`${location.slice('sqlite:'.length)}-wal`);
    const frame = 24 + log.readUInt32BE(8);
    // Only the last frame of a COMMIT has the size of the database in its header.
    const starts = numbers(Math.floor((log.length - 32) / frame)).map((n) => 32 + n * frame);
    return starts.filter((start) => log.readUInt32BE(start + 4) > 0).length;
  }

  it('share a COMMIT when they are concurrent, and have their own when they are sequential', async () => {
    const before = commits();
    await Promise.all(numbers(200).map((n) => run(() => add(`concurrent ${n}`))));
    const shared = commits() - before;
    expect(shared).toBeGreaterThanOrEqual(1);
    expect(shared).toBeLessThan(20);
    for (const n of numbers(10)) await run(() => add(`sequential ${n}`));
    expect(commits() - before - shared).toBe(10);
  });

  it('keep their common COMMIT when one of the group fails', async () => {
    const before = commits();
    const { done } = await together(
      numbers(9).map((n) => run(() => add(`note ${n}`).then(() => (n % 2 ? Promise.reject(new Error()) : undefined)))),
    );
    expect([done, commits() - before]).toEqual([5, 1]);
    expect(await notes.seen()).toEqual([0, 2, 4, 6, 8].map((n) => `note ${n}`));
  });

  it('run messages before requests, and one request after twelve messages', async () => {
    const order: string[] = [];
    const unit = (kind: string, options = {}) => run(async () => void order.push(kind), options);
    const requests = numbers(3).map(() => unit('request'));
    await Promise.all([...requests, ...numbers(30).map(() => unit('message', { isMessage: true }))]);
    const twelve = Array<string>(12).fill('message');
    expect(order).toEqual([...twelve, 'request', ...twelve, 'request', ...twelve.slice(6), 'request']);
  });

  it('run the one that closes the group last, with the rows and the COMMIT of the others', async () => {
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

  it.each([
    ['was deleted', (path: string) => rmSync(path)],
    ['was deleted with its log', (path: string) => ['', '-wal', '-shm'].forEach((end) => rmSync(path + end))],
    [
      'was replaced by a copy',
      (path: string) => [copyFileSync(path, `${path}.copy`), renameSync(`${path}.copy`, path)],
    ],
    ['lost its log', (path: string) => rmSync(`${path}-wal`)],
    ['lost its shared memory', (path: string) => rmSync(`${path}-shm`)],
  ])('are refused when the file of the database %s', async (_, remove) => {
    await run(() => add('before'));
    remove(location.slice('sqlite:'.length));
    const refused = await outcome(run(() => add('after')));
    expect(refused).toBeInstanceOf(DatabaseUnavailable);
    expect((refused as Error).message).toContain('was deleted or replaced while this process had it open');
    const probe = jest.fn(() => run(() => add('probe')).then(() => undefined));
    await expect(notes.work.health.assertWritable(probe)).rejects.toThrow('was deleted or replaced');
    expect(probe).toHaveBeenCalledTimes(1);
  });

  it.each([
    ['the log of the file it points to is deleted', (file: string) => rmSync(`${file}-wal`)],
    ['the shared memory of the file it points to is deleted', (file: string) => rmSync(`${file}-shm`)],
    ['it points to another file', (file: string, link: string) => (rmSync(link), symlinkSync(`${file}.other`, link))],
  ])('are refused when the address is a symbolic link, and %s', async (_, spoil) => {
    const file = location.slice('sqlite:'.length);
    const link = `${file}.link`;
    await notes.close();
    copyFileSync(file, `${file}.other`);
    symlinkSync(file, link);
    notes = await openNotes(`sqlite:${link}`);
    await run(() => add('before'));
    spoil(file, link);
    const refused = await outcome(run(() => add('after')));
    expect(refused).toBeInstanceOf(DatabaseUnavailable);
    expect((refused as Error).message).toContain('was deleted or replaced while this process had it open');
  });

  it('are refused only until the file of the database is back', async () => {
    const path = location.slice('sqlite:'.length);
    await run(() => add('before'));
    renameSync(path, `${path}.elsewhere`);
    expect(await outcome(run(() => add('meanwhile')))).toBeInstanceOf(DatabaseUnavailable);
    renameSync(`${path}.elsewhere`, path);
    await notes.work.health.assertWritable(() => run(() => add('after')).then(() => undefined));
    expect(await notes.seen()).toEqual(['after', 'before']);
  });

  describe('when the disk is full and SQLite rolls back by itself', () => {
    const LARGE = 'x'.repeat(100_000);
    const limitPages = (pages: number) => run(() => notes.work.sql.all(`PRAGMA max_page_count = ${pages}`));

    beforeEach(() => limitPages(1)); // SQLite raises this to the current size
    const writes: [string, (id: string) => Promise<unknown>][] = [
      ['statement', (id) => add(id)],
      ['repository', (id) => notes.work.repository(Note).insert({ id })],
    ];

    it.each(writes)(
      'fail with their group when one catches the error, and write nothing more by a %s',
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

    it('run in a new group when they come later, and work again when there is space', async () => {
      const [full, behind] = [run(() => add(LARGE)), run(() => add('behind'))];
      expect(await outcome(full)).toBeInstanceOf(DatabaseUnavailable);
      expect(await outcome(behind)).toBe('done');
      await limitPages(1_000_000);
      await run(() => add(LARGE));
      expect(await notes.seen()).toEqual(['behind', LARGE]);
    });

    it('run no afterCommit hook', async () => {
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

  it('name the cause when the disk is full, each of the group', async () => {
    await run(() => notes.work.sql.all('PRAGMA max_page_count = 1'));
    const { errors } = await together([run(() => add('before')), run(() => add('x'.repeat(100_000)))]);
    expect(errors.map(({ message }) => message)).toEqual([
      expect.stringMatching(/not committed: .*database or disk is full$/),
      expect.stringMatching(/rolled the transaction back: database or disk is full$/),
    ]);
    const probe = () => run(() => add('y'.repeat(100_000))).then(() => undefined);
    await expect(notes.work.health.assertWritable(probe)).rejects.toThrow('database or disk is full');
  });

  describe('on a damaged file', () => {
    const all = () => notes.work.sql.all('SELECT id FROM note');

    beforeEach(async () => {
      await run(async () => {
        for (const n of numbers(300)) await add(`note ${n} ${'x'.repeat(1000)}`);
      });
      await notes.close();
      const file = location.slice('sqlite:'.length);
      const pages = readFileSync(file);
      // Page 1 and the root of the table stay as they are.
      pages.fill(0xff, 4096 * 8);
      writeFileSync(file, pages);
      notes = await openNotes(location);
    });

    const reads: [string, () => Promise<unknown>][] = [
      ['a unit of work', () => run(all)],
      ['a unit of work that catches the error', () => run(() => all().catch(() => undefined))],
      ['a repository in a unit', () => run(() => notes.work.repository(Note).find())],
    ];
    it.each(reads)('fail as unavailable when %s meets the damage, and the process is not ready', async (_, read) => {
      await run(async () => undefined);
      await notes.work.health.assertWritable(() => run(async () => undefined));
      expect(await outcome(read())).toBeInstanceOf(DatabaseUnavailable);
      await run(async () => undefined);
      const ready = notes.work.health.assertWritable(() => run(async () => undefined));
      await expect(ready).rejects.toThrow('is damaged (database disk image is malformed)');
    });

    it.each([
      ['statement', all],
      ['repository', () => notes.work.repository(Note).find()],
    ])('are not ready after a %s outside of a unit met the damage, which is answered with 503', async (_, read) => {
      const error = await outcome(read());
      expect(problemOf(error).problem.status).toBe(503);
      await expect(notes.work.health.assertWritable(() => Promise.resolve())).rejects.toThrow('is damaged');
    });
  });

  it('all fail with the COMMIT of their group, and the next group commits', async () => {
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

  describe('when the COMMIT violates a constraint', () => {
    const prelude = { batchKey: 'notes', load: async (_: unknown, items: readonly number[]) => items };
    const violate = () => notes.work.sql.run(`INSERT INTO reply (id, note) VALUES ('reply', 'no such note')`);
    /** A unit of work that may run again. */
    const message = (n: number, violates = false) =>
      notes.work.runInBatch(prelude, n, async () => {
        await add(`message ${n}`);
        if (violates) await violate();
      });

    it('run again in isolation if they may, and only the violating one fails', async () => {
      const { done, errors } = await together(numbers(9).map((n) => message(n, n === 4)));
      expect([done, errors]).toEqual([8, [expect.objectContaining({ code: 'SQLITE_CONSTRAINT_FOREIGNKEY' })]]);
      expect(await notes.seen()).toEqual([0, 1, 2, 3, 5, 6, 7, 8].map((n) => `message ${n}`));
    });

    it('commit while the violating message is repeated, because it is isolated for a while', async () => {
      const request = (id: string) => run(() => add(id));
      await together([message(0, true), request('first')]);
      for (const n of numbers(5)) {
        const requests = numbers(20).map((k) => request(`${n} ${k}`));
        const violating = outcome(message(0, true));
        expect(await together([...requests, message(100 + n)])).toEqual({ done: 21, errors: [] });
        expect(await violating).toMatchObject({ code: 'SQLITE_CONSTRAINT_FOREIGNKEY' });
      }
    });

    it('may not run again: the violating one gets its own error when it is repeated', async () => {
      const both = () => together([run(() => add('valid')), run(violate)]);
      expect((await both()).errors).toEqual([expect.any(DatabaseUnavailable), expect.any(DatabaseUnavailable)]);
      expect((await both()).errors).toEqual([expect.objectContaining({ code: 'SQLITE_CONSTRAINT_FOREIGNKEY' })]);
      expect(await notes.seen()).toEqual(['valid']);
    });

    it('may not run again: one alone in its group gets its own error at once, and stays isolated later', async () => {
      const closing = () => run(async () => undefined, { closesGroup: true });
      const violating = () => together([run(violate), closing()]);
      const ownError = expect.objectContaining({ code: 'SQLITE_CONSTRAINT_FOREIGNKEY' }) as Error;
      expect((await violating()).errors).toEqual([ownError, expect.any(DatabaseUnavailable)]);
      await together([run(() => add('other')), run(violate)]);
      await wait(1200);
      expect((await together([run(() => add('valid')), run(violate)])).errors).toEqual([ownError]);
    });

    it('roll back before the next group when the first ROLLBACK fails', async () => {
      const db = sqliteConnection((notes.database as unknown as { writer: DataSource }).writer);
      const rollback = jest.spyOn(db, 'exec').mockImplementationOnce(() => {
        throw new Error('disk I/O error');
      });
      expect(await outcome(run(violate))).toMatchObject({ code: 'SQLITE_CONSTRAINT_FOREIGNKEY' });
      await run(() => add('next'));
      expect(rollback).toHaveBeenCalledTimes(2);
      rollback.mockRestore();
      expect(await notes.seen()).toEqual(['next']);
    });
  });

  describe('while another process writes', () => {
    /** Starts a process that holds the write lock, for `ms` or until it is stopped. Resolves when the lock is held. */
    async function lock(ms = 600_000) {
      const program = `
        const db = require('${BETTER_SQLITE3}')(process.argv[1]);
        db.exec('BEGIN IMMEDIATE');
        console.log('locked');
        setTimeout(() => { db.exec('COMMIT'); db.close(); }, ${ms});`;
      const child = spawn(process.execPath, ['-e', program, location.slice('sqlite:'.length)], { stdio: 'pipe' });
      const exited = once(child, 'exit');
      await once(child.stdout, 'data');
      const stop = async () => {
        child.kill('SIGKILL');
        await exited;
      };
      return { stop, exited, isLocking: () => child.exitCode === null && child.signalCode === null };
    }

    /** Runs `work`. @returns how long the event loop was blocked meanwhile, in ms, the longest first */
    async function eventLoopDelays(work: () => Promise<unknown>): Promise<number[]> {
      const delays: number[] = [];
      let last = performance.now();
      const timer = setInterval(() => {
        delays.push(performance.now() - last);
        last = performance.now();
      }, 1);
      await work();
      clearInterval(timer);
      return delays.sort((a, b) => b - a);
    }

    it('wait without blocking the event loop, and commit when the lock is released', async () => {
      // Each attempt may block for the busy timeout of 20 ms. Two delays may be longer: the machine runs other programs.
      await expectFasterThan(
        60,
        async (round) => {
          const other = await lock(1500);
          const units = () => Promise.all(numbers(5).map((n) => run(() => add(`note ${round} ${n}`))));
          const delays = await eventLoopDelays(units);
          expect(await notes.seen()).toHaveLength(5 * (round + 1));
          await other.exited;
          // With fewer delays the lock was released before the units had to wait.
          return delays.length > 50 ? delays[2]! : Infinity;
        },
        { maxRuns: 20 },
      );
    });

    it('fail after five seconds, and readers are not affected', async () => {
      await run(() => add('before'));
      const other = await lock();
      const started = performance.now();
      const failed = outcome(run(() => add('failed')));
      expect(await notes.database.read.all('SELECT id FROM note')).toEqual([{ id: 'before' }]);
      expect(await failed).toBeInstanceOf(DatabaseUnavailable);
      expect(performance.now() - started).toBeGreaterThan(4900);
      expect(other.isLocking()).toBe(true);
      await other.stop();
      await run(() => add('after'));
      expect(await notes.seen()).toEqual(['after', 'before']);
    });
  });
});
