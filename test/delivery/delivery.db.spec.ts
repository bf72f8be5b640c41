import { setTimeout as wait } from 'node:timers/promises';
import { CommandBus, EventBus, QueryBus } from '@nestjs/cqrs';
import { Test, type TestingModule } from '@nestjs/testing';
import BetterSqlite3 from 'better-sqlite3';
import { z } from 'zod';
import { DeadLetters } from '../../src/infrastructure/dead-letters/dead-letters.js';
import { query, Reject } from '../../src/infrastructure/contracts/message.js';
import { Outbox } from '../../src/infrastructure/outbox/outbox.js';
import { InboxReceiver } from '../../src/infrastructure/delivery/inbox-receiver.js';
import { jitteredBackoffMs } from '../../src/infrastructure/contracts/retry-policy.js';
import { Retention } from '../../src/infrastructure/maintenance/retention.js';
import { outboxStatistics } from '../../src/infrastructure/store/statistics.js';
import { Database } from '../../src/infrastructure/persistence/database.js';
import { DatabaseUnavailable } from '../../src/infrastructure/persistence/sql.js';
import { UnitOfWork } from '../../src/infrastructure/persistence/unit-of-work.js';
import { eventually, expectFasterThan } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';
import { batches, deferred, numbers } from '../support/notes.js';
import {
  behaviourOf,
  ELSEWHERE,
  Happened,
  meshOf,
  plant,
  plantedModules,
  Work,
  type Behaviour,
} from '../support/planted.js';

const KEY = '5f0c9a2e-1111-4222-8333-944445555666';

/* Delivery in process. The tests of all transports are in every-transport.ts. */

describe.each(DATABASES)('Delivery on $kind', ({ kind, fresh, makeUnavailable }) => {
  let app: TestingModule;
  let behaviour: Behaviour;
  let database: string;

  const start = async (handlers: Partial<Behaviour> = {}, retry = 3) => {
    const delivery = { retry, backoffDelayMs: 20 };
    ({ app, behaviour } = await plant({ database, delivery, shutdownGraceMs: 60_000 }, handlers));
  };
  beforeEach(async () => {
    database = await fresh();
  });
  afterEach(async () => {
    await app.close();
  });

  const work = () => app.get(UnitOfWork);
  const deadLetters = () => app.get(DeadLetters);
  const statistics = () => outboxStatistics(work().sql);
  const idle = () => eventually(statistics, ({ pending }) => pending === 0);
  const send = (n: number, key = KEY) => app.get(CommandBus).execute(new Work(key, { n }));
  const publish = (n: number, key = KEY) => work().run(async () => app.get(EventBus).publish(new Happened(key, { n })));
  const insertEffect = async (who: string, n: number) => {
    await work().sql.run('INSERT INTO left_effect (who, n) VALUES ($1, $2)', [who, n]);
  };
  const effects = () => work().sql.all<{ who: string; n: number }>('SELECT who, n FROM left_effect ORDER BY n, who');

  if (kind === 'sqlite') {
    it.each(['prepare', 'work'] as const)('counts no attempt when %s() meets a damaged page', async (place) => {
      let isDamaged = true;
      let attempts = 0;
      const read = async () => {
        attempts++;
        if (isDamaged) await work().sql.all('SELECT n FROM damaged');
      };
      await start({ [place]: read }, 0);
      damageTable(database.slice('sqlite:'.length));
      await send(1);
      await eventually(
        async () => attempts,
        (n) => n > 1,
      );
      expect((await statistics()).pending).toBe(1);
      isDamaged = false;
      await idle();
      expect(await deadLetters().count({})).toBe(0);
      await expect(work().health.assertWritable(async () => undefined)).rejects.toThrow('is damaged');
    });
  }

  it('passes data and the result of prepare() to the handler, and the event of the handler to its consumers', async () => {
    const seen: unknown[] = [];
    await start({
      prepare: async ({ data }) => data.n * 10,
      work: async ({ subject, data }, prepared) => {
        seen.push({ subject, data, prepared });
        app.get(EventBus).publish(new Happened(subject, { n: data.n }));
      },
      right: async ({ data }) => void seen.push({ right: data }),
    });
    await send(7);
    await idle();
    expect(seen).toEqual([{ subject: KEY, data: { n: 7 }, prepared: 70 }, { right: { n: 7 } }]);
  });

  it('delivers to other consumers while the attempts of one hang', async () => {
    let right = 0;
    let release!: () => void;
    const released = new Promise<void>((resolve) => (release = resolve));
    await start({ prepareLeft: () => released, right: async () => void right++ });
    await work().run(async () => {
      // More than a consumer may have in flight.
      for (let n = 0; n < 400; n++) app.get(EventBus).publish(new Happened(crypto.randomUUID(), { n }));
    });
    const seen = async () => right;
    await eventually(seen, (times) => times === 400);
    await eventually(
      async () => (await statistics()).consumers,
      ({ left, right }) => left === 400 && !right,
    );
    release();
    await idle();
  });

  it('dead-letters a poison message with its last error, and requeues it for its consumer only', async () => {
    let poisoned = true;
    let right = 0;
    await start({
      left: async ({ data }) => {
        if (poisoned) throw new Error(`no good: ${data.n} of ${KEY}`);
        await insertEffect('left', data.n);
      },
      right: async () => void right++,
    });
    await publish(1);
    await publish(2);
    await idle();
    const letters = await deadLetters().list({}, { limit: 10, offset: 0 });
    expect(letters).toHaveLength(2);
    expect(letters[0]).toMatchObject({ consumer: 'left', type: 'planted.left.happened', subject: KEY, attempts: 4 });
    expect(letters.map(({ error }) => error)).toContain(`Error: no good: 1 of ${KEY}`);
    expect(await deadLetters().causes({})).toMatchObject([{ cause: 'Error: no good: <n> of <id>', count: 2 }]);
    expect(right).toBe(2);

    poisoned = false;
    expect(await deadLetters().requeue(letters[0]!.id, false)).toBe(true);
    await idle();
    expect(await deadLetters().count({})).toBe(1);
    expect(await deadLetters().requeueAll({ consumer: 'left' }, false)).toEqual({ replayed: 1, skipped: [] });
    await idle();
    expect(await effects()).toEqual([
      { who: 'left', n: 1 },
      { who: 'left', n: 2 },
    ]);
    expect(right).toBe(2);
    expect(await deadLetters().count({})).toBe(0);
  });

  const statement = (text: string, values: string[] = []) => work().sql.run(text, values);
  const failing = (code: string, message = 'of another system') =>
    Promise.reject(Object.assign(new Error(message), { code }));
  it.each<[string, () => Promise<unknown>]>([
    ['has a parameter too few', () => statement('INSERT INTO left_effect (who, n) VALUES ($1 || $2, 1)', ['a'])],
    ['has the words of a driver', () => failing('', 'Carrier: connection error 4711')],
    ['is an HTTP client’s ECONNREFUSED', () => failing('ECONNREFUSED')],
    ['is another file’s SQLITE_CANTOPEN', () => failing('SQLITE_CANTOPEN')],
    ['is another server’s XX001', () => failing('XX001')],
    ['is another server’s 40P01', () => failing('40P01')],
    ['is another server’s 53300', () => failing('53300')],
  ])('counts the attempts of a handler whose error %s', async (_, fail) => {
    let runs = 0;
    await start({
      prepare: async ({ data: { n } }) => {
        if (n === 2) await Promise.resolve(++runs).then(fail);
      },
      work: async ({ data: { n } }) => {
        if (n === 1) await Promise.resolve(++runs).then(fail);
      },
    });
    for (const n of [1, 2]) await work().run(() => send(n, `key ${n}`));
    await eventually(deadLetters().count.bind(deadLetters(), {}), (count) => count === 2);
    expect(runs).toBe(8);
  });

  it('replaces characters that databases can’t store in the error of a dead letter', async () => {
    await start({
      left: async () => {
        throw new Error('half of \ud83d, and\0nothing');
      },
    });
    await publish(1);
    await idle();
    const [letter] = await deadLetters().list({}, { limit: 10, offset: 0 });
    expect(letter).toMatchObject({ attempts: 4, error: expect.stringMatching(/^Error: half of ., and\ufffdnothing$/) });
  });

  it('does not retry a message with a value that the contract allows and its column does not', async () => {
    await start({ work: ({ data }) => insertEffect('left', data.n).then(() => undefined) });
    await send(2 ** 31);
    await idle();
    if (kind === 'sqlite') return expect(await effects()).toHaveLength(1);
    const letters = await deadLetters().list({}, { limit: 10, offset: 0 });
    expect(letters).toMatchObject([{ consumer: 'left', attempts: 1, error: expect.stringContaining('out of range') }]);
  });

  it('refuses to send a message whose subject is longer than receivers accept', async () => {
    await start();
    await expect(send(1, 'ż'.repeat(501))).rejects.toThrow('subject: longer than 1000 bytes');
    await send(1, 'ż'.repeat(500));
    await idle();
    expect(await deadLetters().count({})).toBe(0);
  });

  it('rejects data that violates the contract, and types without a handler', async () => {
    await start();
    const event = { specversion: '1.0', id: '1', source: 'usvc://planted/left', subject: KEY } as const;
    const receive = (more: object) =>
      app.get(InboxReceiver).receive('left', { ...event, type: 'planted.left.work', ...more });
    await expect(receive({ data: { n: 'many' } })).rejects.toThrow(Reject);
    await expect(receive({ data: undefined })).rejects.toThrow(Reject);
    await expect(receive({ type: 'planted.left.unknown', data: { n: 1 } })).rejects.toThrow(Reject);
    await expect(receive({ data: { n: 1, unknown: 'field' } })).resolves.toBe('handled');
  });

  it('acknowledges a repeated event without handling it', async () => {
    await start({ work: ({ data }) => insertEffect('work', data.n) });
    const event = {
      specversion: '1.0',
      id: 'abc',
      source: 'usvc://planted/left',
      subject: KEY,
      type: 'planted.left.work',
      data: { n: 1 },
    } as const;
    const receiver = app.get(InboxReceiver);
    const outcomes = await Promise.all(Array.from({ length: 20 }, () => receiver.receive('left', event)));
    expect(outcomes.sort()).toEqual([...Array<string>(19).fill('duplicate'), 'handled']);
    // The same id of another source is another event.
    await expect(receiver.receive('left', { ...event, source: ELSEWHERE })).resolves.toBe('handled');
    expect(await effects()).toHaveLength(2);
  });

  /** Inserts a message for each number with one statement. */
  const insertIntoOutbox = (type: string, ...ns: number[]) => {
    const rows = ns.map((n) => {
      const source = 'usvc://planted/left';
      const event = { specversion: '1.0', id: `left-${n}`, source, type, subject: KEY, data: { n } };
      return `('${event.id}', '${source}', '${type}', 'key ${n}', '${JSON.stringify(event)}', 0)`;
    });
    return work().sql.run(
      `INSERT INTO mesh_outbox (id, source, type, partition_key, event, created_at) VALUES ${rows.join(', ')}`,
    );
  };

  it('dead-letters the messages of a database when the process hosts no modules', async () => {
    await start();
    await app.close();
    const { Left, Right } = plantedModules(behaviourOf({}));
    const imports = meshOf([Left, Right], { database, hosted: [], delivery: { unknownTypeGraceMs: 0 } });
    app = await Test.createTestingModule({ imports }).compile();
    await app.init();
    await work().run(() => insertIntoOutbox('planted.left.happened', 1));
    const listed = () => deadLetters().list({}, { limit: 10, offset: 0 });
    const [letter] = await eventually(listed, ({ length }) => length > 0);
    expect(await deadLetters().find(letter!.id)).toMatchObject({ event: { id: 'left-1' } });
  });

  it('dispatches messages in smaller batches when a batch fails', async () => {
    await start({ work: ({ data }) => insertEffect('work', data.n) });
    const many = `(SELECT COUNT(*) FROM mesh_delivery WHERE attempts = 0) > 120`;
    const trigger =
      kind === 'sqlite'
        ? [
            `CREATE TRIGGER too_many AFTER INSERT ON mesh_delivery WHEN ${many} BEGIN SELECT RAISE(ABORT, 'too many'); END`,
          ]
        : [
            `CREATE FUNCTION too_many() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN IF ${many} THEN RAISE EXCEPTION ''too many''; END IF; RETURN NULL; END'`,
            'CREATE TRIGGER too_many AFTER INSERT ON mesh_delivery FOR EACH STATEMENT EXECUTE FUNCTION too_many()',
          ];
    await work().run(async () => {
      for (const statement of trigger) await work().sql.run(statement);
    });
    await work().run(() => insertIntoOutbox('planted.left.work', ...numbers(400)));
    await eventually(effects, (all) => all.length === 400);
  });

  it('sends the messages of a beforeCommit hook with its unit of work', async () => {
    const seen: number[] = [];
    await start({ right: async ({ data }) => void seen.push(data.n) });
    await work().run(async () => {
      app.get(EventBus).publish(new Happened(KEY, { n: 1 }));
      work().unit.beforeCommit(async () => app.get(EventBus).publish(new Happened(KEY, { n: 2 })));
    });
    await idle();
    expect(seen).toEqual([1, 2]);
  });

  it.each<[string, Error, string]>([
    ['an error whose text databases can’t store', new Reject('no \0 good'), 'Reject: no \ufffd good'],
    ['undefined', undefined as never, 'undefined'],
    ['an error without a message', Object.assign(new Error(), { message: Symbol('s') }), '[object Error]'],
    ['an invalid retryAfterMs', Object.assign(new Error('later'), { retryAfterMs: NaN }), 'Error: later'],
    ['a value that can’t be written as JSON', { n: 1n } as never, '[object Object]'],
  ])('dead-letters the message of a handler that throws %s', async (_, thrown, error) => {
    await start({ work: () => Promise.reject(thrown) }, 1);
    await send(1);
    await idle();
    expect(await deadLetters().list({}, { limit: 10, offset: 0 })).toMatchObject([{ error }]);
  });

  it('keeps the order of a partition key when an attempt fails during the query for more messages', async () => {
    const [failure, result] = [deferred(), deferred()];
    let hasBegun = false;
    const order: number[] = [];
    await start({
      prepare: async ({ data: { n } }) => {
        if (n > 1 || order.length > 0) return;
        hasBegun = true;
        await failure.promise;
        order.push(-1);
        throw new DatabaseUnavailable('for a moment');
      },
      work: async ({ data: { n } }) => void order.push(n),
    });
    const { read } = app.get(Database);
    const all = read.all.bind(read);
    await send(1);
    await eventually(
      async () => hasBegun,
      (it) => it,
    );
    let held = 0;
    // These queries return late.
    read.all = async <Row>(...statement: Parameters<typeof all>) => {
      const rows = await all<Row>(...statement);
      if (/FROM mesh_delivery.* attempts = 0/s.test(statement[0]) && rows.length > 0 && ++held) await result.promise;
      return rows;
    };
    await send(2);
    await eventually(
      async () => held,
      (n) => n > 0,
    );
    failure.resolve();
    await eventually(
      async () => order.length,
      (length) => length === 1,
    );
    await wait(400);
    result.resolve();
    await idle();
    expect(order).toEqual([-1, 1, 2]);
  });

  const onPostgres = kind === 'postgres' ? it : it.skip;
  onPostgres('keeps the order of a partition key when the lease of a message in flight is lost', async () => {
    const prepared = deferred();
    let begun = 0;
    const order: number[] = [];
    await start({
      prepare: ({ data: { n } }) => (++begun, n === 1 ? prepared.promise : Promise.resolve()),
      work: async ({ data: { n } }) => void order.push(n),
    });
    const leases = async () => {
      const [row] = await work().sql.all<{ n: string; token: string }>(
        `SELECT COUNT(holder) AS n, MIN(token) AS token FROM mesh_lease WHERE part LIKE 'deliveries%'`,
      );
      return { held: Number(row!.n), token: Number(row!.token) };
    };
    const { token } = await eventually(leases, ({ held }) => held === 32);
    await send(1);
    await eventually(
      async () => begun,
      (n) => n === 1,
    );
    await work().sql.all(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
       WHERE application_name = 'mesh leases' AND datname = current_database()`,
    );
    await eventually(leases, (now) => now.held === 32 && now.token > token);
    await send(2);
    await wait(100);
    prepared.resolve();
    await idle();
    expect(order).toEqual([1, 2]);
  });

  it('does not count an attempt while the database is unavailable', async () => {
    let attempts = 0;
    let makeAvailable: (() => Promise<void>) | undefined;
    // Between prepare() and the unit of work: the message is in flight, and its failure can't be stored.
    const prepare = async () => {
      makeAvailable ??= await makeUnavailable(database);
    };
    await start({ prepare, work: async () => void attempts++ }, 0);
    await send(1);
    await eventually(
      async () => makeAvailable,
      (it) => it !== undefined,
    );
    await wait(kind === 'sqlite' ? 6000 : 1000);
    expect(attempts).toBe(0);
    await makeAvailable!();
    await idle();
    expect(attempts).toBe(1);
    expect(await deadLetters().count({})).toBe(0);
  });

  it('delivers ready messages during a shutdown', async () => {
    await start({ work: ({ data }) => insertEffect('work', data.n) });
    for (const batch of batches(300)) {
      await work().run(async () => {
        for (const n of batch) await send(n, crypto.randomUUID());
      });
    }
    await app.close();
    await start();
    expect(await effects()).toHaveLength(300);
    expect(await statistics()).toMatchObject({ pending: 0 });
  });

  it('refuses messages that would be lost: outside of a unit of work, or not durable', async () => {
    await start();
    expect(() => app.get(EventBus).publish(new Happened(KEY, { n: 1 }))).toThrow('No unit of work');
    class Fleeting {}
    await expect(work().run(async () => app.get(EventBus).publish(new Fleeting()))).rejects.toThrow("isn't durable");
    class Ask extends query('planted', z.object({}), z.object({})) {}
    await expect(work().run(() => app.get(QueryBus).execute(new Ask({})))).rejects.toThrow('inside a unit of work');
    await expect(send(1.5)).rejects.toThrow();
    const manager = work()['database'].reader.manager;
    await expect(app.get(Outbox).add(manager, new Work(KEY, { n: 1 }))).rejects.toThrow('open transaction');
    expect(await statistics()).toMatchObject({ pending: 0 });
  });

  it('delivers a message that was added with an entity manager at the commit, without waiting for the poll', async () => {
    await start({ work: ({ data }) => insertEffect('work', data.n) });
    const deliver = async (n: number) => {
      await work().run(() => app.get(Outbox).add(work().unit.manager, new Work(KEY, { n })));
      await eventually(effects, (all) => all.length === n + 1);
    };
    // A message that waits for the poll takes about a second, because the one before ended at the last poll.
    await expectFasterThan(500, deliver, { times: 3, maxRuns: 30 });
  });

  it('keeps only the inbox record of a handled message, and deletes it after its retention', async () => {
    await start();
    await Promise.all(numbers(1200).map((n) => send(n, crypto.randomUUID())));
    await idle();
    const count = async (table: string) => {
      const [row] = await work().sql.all<{ n: string }>(`SELECT COUNT(*) AS n FROM ${table}`);
      return Number(row!.n);
    };
    expect(await count('mesh_inbox')).toBe(1200);
    const retention = app.get(Retention, { strict: false });
    await retention.sweep();
    expect(await count('mesh_inbox')).toBe(1200);
    await retention.sweep(Date.now() + 15 * 86_400_000);
    expect(await count('mesh_inbox')).toBe(0);
  });

  it('requeues a dead letter from before the replay window only when forced', async () => {
    await start({ work: () => Promise.reject(new Reject('never')) });
    await send(1);
    await idle();
    const old = Date.now() - 8 * 86_400_000;
    await work().run(() => work().sql.run('UPDATE mesh_dead_letter SET dead_at = $1', [old]));
    const [letter] = await deadLetters().list({}, { limit: 1, offset: 0 });
    await expect(deadLetters().requeue(letter!.id, false)).rejects.toThrow('replay window');
    const reason = expect.stringMatching(/replay window.*force=true/) as unknown;
    const skipped = [{ reason, count: 1, ids: [letter!.id] }];
    expect(await deadLetters().requeueAll({}, false)).toEqual({ replayed: 0, skipped });
    behaviour.work = async () => undefined;
    expect(await deadLetters().requeue(letter!.id, true)).toBe(true);
    await idle();
    expect(await deadLetters().count({})).toBe(0);
  });
});

it('A mesh with modules of other processes refuses to start without a broker', async () => {
  const { Left, Right } = plantedModules(behaviourOf({}));
  const imports = meshOf([Left, Right], { database: 'sqlite::memory:', hosted: [Left] });
  await expect(Test.createTestingModule({ imports }).compile()).rejects.toThrow('need a broker');
});

it('A retry waits for its backoff delay with a jitter of a tenth', () => {
  const policy = { retry: 10, backoffDelayMs: 200, backoffPolicy: 'exponential', timeoutMs: 1000 } as const;
  expect([0, 0.5, 1].map((random) => jitteredBackoffMs(policy, 3, random))).toEqual([1440, 1600, 1760]);
});

/** Makes a table whose root page is that of its index, which SQLite finds malformed when it reads the table. */
function damageTable(path: string): void {
  const db = new BetterSqlite3(path);
  db.exec('CREATE TABLE damaged (n integer); CREATE INDEX damaged_n ON damaged (n); INSERT INTO damaged VALUES (1)');
  db.unsafeMode();
  db.pragma('writable_schema = ON');
  db.exec(`UPDATE sqlite_master SET rootpage = (SELECT rootpage FROM sqlite_master WHERE name = 'damaged_n')
           WHERE name = 'damaged'`);
  db.pragma('schema_version = 1000');
  db.close();
}
