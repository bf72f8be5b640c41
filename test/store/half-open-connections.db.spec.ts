import { setTimeout as wait } from 'node:timers/promises';
import { CommandBus } from '@nestjs/cqrs';
import { DeadLetters } from '../../src/infrastructure/dead-letters/dead-letters.js';
import { Database } from '../../src/infrastructure/persistence/database.js';
import { DatabaseUnavailable, isConnectionLost } from '../../src/infrastructure/persistence/sql.js';
import { UnitOfWork } from '../../src/infrastructure/persistence/unit-of-work.js';
import { eventually } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';
import { connect, Note, notesHistory, numbers, outcome, together, type Connection } from '../support/notes.js';
import { plant, Work, type Planted } from '../support/planted.js';
import { openHalfOpenProxy, type HalfOpenProxy } from '../support/half-open-proxy.js';

const postgres = DATABASES.find(({ kind }) => kind === 'postgres');

(postgres ? describe : describe.skip)('When PostgreSQL falls silent without hanging up,', () => {
  let proxy: HalfOpenProxy;
  let onlooker: Connection;

  beforeEach(async () => {
    const location = await postgres!.fresh();
    proxy = await openHalfOpenProxy(location);
    onlooker = await connect(location);
  });
  afterEach(async () => {
    proxy.close();
    await onlooker.close();
  });

  /** @returns what it came to, and after how many ms */
  async function timed(promise: Promise<unknown>): Promise<{ came: 'done' | Error; ms: number }> {
    const began = performance.now();
    return { came: await outcome(promise), ms: performance.now() - began };
  }

  describe('a database', () => {
    let database: Database;
    let work: UnitOfWork;
    const add = (id: string) => work.sql.run('INSERT INTO note (id) VALUES ($1)', [id]);
    const seen = async () =>
      (await onlooker.all<{ id: string }>('SELECT id FROM note ORDER BY id')).map(({ id }) => id);

    beforeEach(async () => {
      const entities = [Note];
      const of = { database: proxy.url, histories: [notesHistory], migrate: true, poolSize: 1 };
      database = await Database.open({ ...of, entities });
      work = new UnitOfWork(database);
    });
    afterEach(() => database.close());

    /** @param silence falls before or in the midst of the unit */
    const unit = (before: () => unknown, within: () => unknown = () => undefined) => {
      before();
      return work.run(async () => {
        await add('lost');
        within();
        await add('lost, too');
      });
    };
    const fall = () => proxy.dropTraffic('everything', 'refused');

    it.each<[string, () => Promise<unknown>]>([
      ['begin', () => unit(fall)],
      ['go on', () => unit(() => undefined, fall)],
      [
        'be rolled back',
        () =>
          work.run(async () => {
            await add('lost');
            fall();
            throw new DatabaseUnavailable('of its own');
          }),
      ],
      ['share its question', () => work.runInBatch({ batchKey: 'a', load: askInSilence }, 1, async () => undefined)],
    ])("a unit that can't %s is refused, and its connection isn't used again", async (_, lost) => {
      const { came, ms } = await timed(lost());
      expect(came).toBeInstanceOf(DatabaseUnavailable);
      expect(ms).toBeLessThan(5000);
      proxy.passTraffic();
      expect(await together(numbers(6).map((n) => work.run(() => add(`next ${n}`))))).toEqual({ done: 6, errors: [] });
      expect(await seen()).toEqual(numbers(6).map((n) => `next ${n}`));
    });
    const askInSilence = async (sql: UnitOfWork['sql']) => {
      fall();
      await sql.all('SELECT 1');
      return [1];
    };

    it('a unit whose COMMIT is not answered is refused, whatever became of it', async () => {
      const lost = work.run(async () => {
        await add('kept');
        work.unit.beforeCommit(async () => proxy.dropTraffic('answers', 'refused'));
      });
      const { came, ms } = await timed(lost);
      expect(came).toBeInstanceOf(DatabaseUnavailable);
      expect(ms).toBeLessThan(7000);
      proxy.passTraffic();
      await work.run(() => add('next'));
      expect(await seen()).toEqual(['kept', 'next']);
    });

    it.each<[string, () => Promise<unknown>]>([
      ['statement', () => database.read.all('SELECT id FROM note')],
      ['repository', () => work.repository(Note).find()],
    ])(
      'what is read by %s fails after a while, and can be read again',
      async (_, read) => {
        await read();
        fall();
        const { came, ms } = await timed(read());
        expect(isConnectionLost(came)).toBe(true);
        expect(ms).toBeLessThan(7500);
        proxy.passTraffic();
        expect(await Promise.all(numbers(4).map(read))).toEqual(numbers(4).map(() => []));
      },
      20_000,
    );

    it('it can be closed', async () => {
      const lock = database.lock('some right');
      expect(await lock.held()).toBe(true);
      fall();
      const reading = outcome(database.read.all('SELECT id FROM note'));
      const { came, ms } = await timed(lock.release().then(() => database.close()));
      expect(came).toBe('done');
      expect(ms).toBeLessThan(4000);
      expect(await reading).toBeInstanceOf(Error);
      database = await Database.open({
        database: `sqlite:${await sqlitePath()}`,
        entities: [],
        histories: [],
        migrate: false,
      });
    });
  });

  const sqlitePath = async () =>
    (await DATABASES.find(({ kind }) => kind === 'sqlite')!.fresh()).slice('sqlite:'.length);

  describe('a mesh', () => {
    let planted: Planted;
    const start = async () => {
      const slowly = async ({ data: { n } }: { data: { n: number } }) => {
        await planted.app.get(UnitOfWork).sql.run('INSERT INTO left_effect VALUES ($1, $2)', ['work', n]);
      };
      planted = await plant({ database: proxy.url }, { work: slowly });
    };
    const send = (from: number, howMany: number) =>
      planted.app.get(UnitOfWork).run(async () => {
        for (const n of numbers(howMany)) {
          await planted.app.get(CommandBus).execute(new Work(crypto.randomUUID(), { n: from + n }));
        }
      });
    const handled = async () =>
      (await onlooker.all<{ n: number }>('SELECT n FROM left_effect ORDER BY n')).map(({ n }) => n);

    it.each([
      ['answers', 'accepted', 3000],
      ['everything', 'accepted', 8000],
    ] as const)(
      'handles everything once: %s lost, new connections %s, for %i ms',
      async (what, newOnes, ms) => {
        await start();
        await send(0, 2000);
        await eventually(handled, ({ length }) => length > 100);
        proxy.dropTraffic(what, newOnes);
        await wait(ms);
        expect((await handled()).length).toBeLessThan(2000);
        proxy.passTraffic();
        await eventually(handled, ({ length }) => length >= 2000, 20_000);
        await send(2000, 10);
        await eventually(handled, ({ length }) => length >= 2010);
        expect(await handled()).toEqual(numbers(2010));
        expect(await planted.app.get(DeadLetters).count({})).toBe(0);
        await planted.app.close();
      },
      60_000,
    );

    it('can be closed', async () => {
      await start();
      await send(0, 500);
      await eventually(handled, ({ length }) => length > 50);
      proxy.dropTraffic('everything', 'refused');
      await wait(500);
      const { came, ms } = await timed(planted.app.close());
      expect(came).toBe('done');
      // The grace is 3 s.
      expect(ms).toBeLessThan(12_000);
    }, 60_000);
  });
});
