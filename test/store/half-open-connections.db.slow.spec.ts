import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';
import { CommandBus } from '@nestjs/cqrs';
import { DeadLetters } from '../../src/infrastructure/dead-letters/dead-letters.js';
import { LeaseSession } from '../../src/infrastructure/leases/lease-session.js';
import { Database } from '../../src/infrastructure/persistence/database.js';
import { PostgresLock } from '../../src/infrastructure/persistence/lock.js';
import { assertUsable } from '../../src/infrastructure/persistence/postgres/server-checks.js';
import { sessionClient, type SessionConfig } from '../../src/infrastructure/persistence/postgres/session.js';
import { DatabaseUnavailable, isConnectionLost } from '../../src/infrastructure/persistence/sql.js';
import { UnitOfWork } from '../../src/infrastructure/persistence/unit-of-work.js';
import { eventually } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';
import {
  batches,
  connect,
  deferred,
  Note,
  notesHistory,
  numbers,
  outcome,
  together,
  type Connection,
} from '../support/notes.js';
import { plant, Work, type Planted } from '../support/planted.js';
import { openHalfOpenProxy, type HalfOpenProxy } from '../support/half-open-proxy.js';
import { selected } from '../support/thorough.js';

const postgres = DATABASES.find(({ kind }) => kind === 'postgres');

/** Without timeouts of its own, a half-open connection fails after a quarter of an hour or never. */
const MAX_MS = 30_000;

describe('A server of PostgreSQL that is silent after', () => {
  const READY = '5a0000000549';
  const LOGIN = `520000000800000000${READY}`;
  const settings = [
    ['the login', 0],
    ['a session was opened', 1],
  ] as const;

  /** A server that answers every login and as many statements, with an empty row each. */
  const openServer = async (answers: number) => {
    const row = `540000000600004400000006000043000000065300${READY}`;
    const server = createServer((socket) => {
      let received = 0;
      socket.on('error', () => undefined);
      socket.on('data', () => {
        const answer = received++ === 0 ? LOGIN : received - 1 <= answers ? row : '';
        socket.write(Buffer.from(answer, 'hex'));
      });
    });
    await once(server.listen(0, '127.0.0.1'), 'listening');
    return server;
  };

  it.each(settings)(
    '%s keeps neither a lock, nor leases, nor the start of a process waiting',
    async (_, answers) => {
      const server = await openServer(answers);
      const { port } = server.address() as AddressInfo;
      const config: SessionConfig = { host: '127.0.0.1', port, user: 'cabs', Client: await sessionClient({}) };
      const began = performance.now();
      const attempts = [
        new PostgresLock(config, 'a lock').acquire(),
        LeaseSession.open(config, ['outbox'], true, { timeoutMs: 1000, onEnd: () => {}, onNotify: () => {} }),
        assertUsable(config),
      ];
      for (const it of await Promise.all(attempts.map(outcome)))
        expect((it as Error).message).toContain('did not respond');
      expect(performance.now() - began).toBeLessThan(10_000);
      server.close();
    },
    30_000,
  );
});

(postgres ? describe : describe.skip)('With half-open connections to PostgreSQL,', () => {
  let proxy: HalfOpenProxy;
  let observer: Connection;

  beforeEach(async () => {
    const location = await postgres!.fresh();
    proxy = await openHalfOpenProxy(location);
    observer = await connect(location);
  });
  afterEach(async () => {
    proxy.close();
    await observer.close();
  });

  /** @returns the error of a promise, or 'done', and the time that it took in ms */
  async function timed(promise: Promise<unknown>): Promise<{ result: 'done' | Error; ms: number }> {
    const began = performance.now();
    return { result: await outcome(promise), ms: performance.now() - began };
  }

  describe('a database', () => {
    let database: Database;
    let work: UnitOfWork;
    const add = (id: string) => work.sql.run('INSERT INTO note (id) VALUES ($1)', [id]);
    const seen = async () =>
      (await observer.all<{ id: string }>('SELECT id FROM note ORDER BY id')).map(({ id }) => id);

    beforeEach(async () => {
      const histories = [notesHistory];
      database = await Database.open({ database: proxy.url, entities: [Note], histories, migrate: true, poolSize: 1 });
      work = new UnitOfWork(database);
    });
    afterEach(() => database.close());

    /** Runs a unit of work that drops the traffic before it begins, or between two statements. */
    const unit = (before: () => unknown, between: () => unknown = () => undefined) => {
      before();
      return work.run(async () => {
        await add('lost');
        between();
        await add('also lost');
      });
    };
    const dropTraffic = () => proxy.dropTraffic('everything', 'refused');

    /** The pool of this test has one connection: the next unit waits until the server has ended the lost session. */
    const back = () =>
      eventually(
        () =>
          work
            .run(async () => undefined)
            .then(
              () => true,
              () => false,
            ),
        (isBack) => isBack,
        MAX_MS,
      );

    const losses: [string, () => Promise<unknown>][] = [
      ['begin', () => unit(dropTraffic)],
      ['execute a statement', () => unit(() => undefined, dropTraffic)],
      [
        'be rolled back',
        () =>
          work.run(async () => {
            await add('lost');
            dropTraffic();
            throw new DatabaseUnavailable('thrown by the test');
          }),
      ],
      [
        'load its batch prelude',
        () => work.runInBatch({ batchKey: 'a', load: loadWithoutTraffic }, 1, async () => undefined),
      ],
    ];
    const isDefault = ([name]: [string, unknown]) => ['execute a statement', 'be rolled back'].includes(name);
    it.each(selected(losses, isDefault))(
      "a unit of work that can't %s fails, and its connection isn't used again",
      async (_, lost) => {
        const { result, ms } = await timed(lost());
        expect(result).toBeInstanceOf(DatabaseUnavailable);
        expect(ms).toBeLessThan(MAX_MS);
        proxy.passTraffic();
        await back();
        expect(await together(numbers(6).map((n) => work.run(() => add(`next ${n}`))))).toEqual({
          done: 6,
          errors: [],
        });
        expect(await seen()).toEqual(numbers(6).map((n) => `next ${n}`));
      },
    );
    const loadWithoutTraffic = async (sql: UnitOfWork['sql']) => {
      dropTraffic();
      await sql.all('SELECT 1');
      return [1];
    };

    it('a unit of work without a response to its COMMIT fails, although it may be committed', async () => {
      const lost = work.run(async () => {
        await add('kept');
        work.unit.beforeCommit(async () => proxy.dropTraffic('answers', 'refused'));
      });
      const { result, ms } = await timed(lost);
      expect(result).toBeInstanceOf(DatabaseUnavailable);
      expect(ms).toBeLessThan(MAX_MS);
      proxy.passTraffic();
      await back();
      await work.run(() => add('next'));
      expect(await seen()).toEqual(['kept', 'next']);
    });

    it.each<[string, () => Promise<unknown>]>([
      ['statement', () => database.read.all('SELECT id FROM note')],
      ['repository', () => work.repository(Note).find()],
    ])('reading by a %s fails after a timeout, and works again over a new connection', async (_, read) => {
      await read();
      dropTraffic();
      const { result, ms } = await timed(read());
      expect(isConnectionLost(result)).toBe(true);
      expect(ms).toBeLessThan(MAX_MS);
      proxy.passTraffic();
      expect(await Promise.all(numbers(4).map(read))).toEqual(numbers(4).map(() => []));
    });

    it('can be closed', async () => {
      const lock = database.lock('a lock');
      expect(await lock.acquire()).toBe(true);
      dropTraffic();
      const reading = outcome(database.read.all('SELECT id FROM note'));
      const { result, ms } = await timed(lock.release().then(() => database.close()));
      expect(result).toBe('done');
      expect(ms).toBeLessThan(MAX_MS);
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
    let dropped: ReturnType<typeof deferred>;
    const start = async () => {
      dropped = deferred();
      // The last 100 messages wait until the traffic is dropped.
      const prepare = async ({ data: { n } }: { data: { n: number } }) => {
        if (n >= 1900) await dropped.promise;
      };
      const insertEffect = async ({ data: { n } }: { data: { n: number } }) => {
        await planted.app.get(UnitOfWork).sql.run('INSERT INTO left_effect VALUES ($1, $2)', ['work', n]);
      };
      // Enough retries for units of work that a busy machine slows down.
      const delivery = { retry: 10, backoffDelayMs: 20 };
      planted = await plant({ database: proxy.url, delivery }, { prepare, work: insertEffect });
    };
    const send = async (from: number, count: number) => {
      for (const batch of batches(count, from)) {
        await planted.app.get(UnitOfWork).run(async () => {
          for (const n of batch) await planted.app.get(CommandBus).execute(new Work(crypto.randomUUID(), { n }));
        });
      }
    };
    const handled = async () =>
      (await observer.all<{ n: number }>('SELECT n FROM left_effect ORDER BY n')).map(({ n }) => n);

    const outages = [
      ['answers', 'accepted', 3000],
      ['everything', 'accepted', 8000],
    ] as const;
    it.each(selected(outages, ([traffic]) => traffic === 'answers'))(
      'handles each message once after %s dropped and new connections %s for %i ms',
      async (traffic, newConnections, ms) => {
        await start();
        await send(0, 2000);
        await eventually(handled, ({ length }) => length > 100);
        proxy.dropTraffic(traffic, newConnections);
        dropped.resolve();
        await wait(ms);
        expect((await handled()).length).toBeLessThan(2000);
        proxy.passTraffic();
        await eventually(handled, ({ length }) => length >= 2000);
        await send(2000, 10);
        await eventually(handled, ({ length }) => length >= 2010);
        expect(await handled()).toEqual(numbers(2010));
        expect(await planted.app.get(DeadLetters).count({})).toBe(0);
        await planted.app.close();
      },
    );

    it('can be closed', async () => {
      await start();
      await send(0, 500);
      await eventually(handled, ({ length }) => length > 50);
      proxy.dropTraffic('everything', 'refused');
      await wait(500);
      const { result, ms } = await timed(planted.app.close());
      expect(result).toBe('done');
      expect(ms).toBeLessThan(MAX_MS);
    });
  });
});
