import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';
import { Logger } from '@nestjs/common';
import pg from 'pg';
import { toEvents } from '../../src/infrastructure/cloudevents/http-parser.js';
import type { CloudEvent } from '../../src/infrastructure/cloudevents/cloud-event.js';
import { insertDeadLetter } from '../../src/infrastructure/store/dead-letter-rows.js';
import { recordInInbox, type IncomingMessage } from '../../src/infrastructure/store/inbox-rows.js';
import { SHARD, SHARDS } from '../../src/infrastructure/store/lease-rows.js';
import { PostgresLeases } from '../../src/infrastructure/leases/postgres-leases.js';
import { Database } from '../../src/infrastructure/persistence/database.js';
import { UnitOfWork } from '../../src/infrastructure/persistence/unit-of-work.js';
import { ROOT } from '../../tools/source.js';
import { eventually } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';
import { connect, numbers, type Connection } from '../support/notes.js';
import { plant } from '../support/planted.js';
import type { Order, ReplicaOptions } from '../support/replica-child.js';

/** A lease runs out after 6 s, and is looked for every 1.5 s; the issue of who is gone is settled in 10 s at most. */
const TAKEN_OVER_MS = 10_000;

/** A real process on the database of the test. */
class Replica {
  readonly heard: Record<string, unknown>[] = [];

  private constructor(
    readonly name: string,
    private readonly child: ChildProcess,
  ) {
    child.on('message', (message: Record<string, unknown>) => this.heard.push(message));
  }

  static async start(options: ReplicaOptions): Promise<Replica> {
    const words = [
      '--import',
      './workshop/runner/typescript.mjs',
      'test/support/replica-child.ts',
      JSON.stringify(options),
    ];
    const stdio = ['ignore', 'ignore', 'inherit', 'ipc'] as const;
    const child = spawn(process.execPath, words, { cwd: ROOT, env: { PATH: process.env.PATH }, stdio: [...stdio] });
    const replica = new Replica(options.name, child);
    await replica.hears(({ isReady }) => isReady === true, 60_000);
    return replica;
  }

  async hears(isIt: (message: Record<string, unknown>) => boolean, ms?: number): Promise<void> {
    await eventually(
      async () => this.heard.some(isIt) || this.child.exitCode !== null,
      (did) => did,
      ms,
    );
  }

  tell(order: Order): void {
    this.child.send(order);
  }

  /** Sends messages one after the other. Resolves when they are committed. */
  async send(messages: [string, number][], inOneUnit = false): Promise<void> {
    const before = this.heard.filter(({ sent }) => sent).length;
    this.tell({ send: messages, inOneUnit });
    await eventually(
      async () => this.heard.filter(({ sent }) => sent).length,
      (n) => n > before,
      60_000,
    );
  }

  signal(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }

  async end(signal?: NodeJS.Signals): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const gone = once(this.child, 'exit');
    if (signal) this.child.kill(signal);
    else this.tell({ end: true });
    await gone;
  }
}

interface Handled {
  readonly replica: string;
  readonly subject: string;
  readonly n: number;
}

const postgres = DATABASES.find(({ kind }) => kind === 'postgres');

(postgres ? describe : describe.skip)('Several replicas on one PostgreSQL', () => {
  let database: string;
  let onlooker: Connection;
  let replicas: Replica[];
  /** What a test has opened itself. */
  let closing: (() => Promise<void>) | undefined;

  beforeEach(async () => {
    database = await postgres!.fresh();
    // Its tables come from a replica that has ended.
    await (await plant({ database }, {})).app.close();
    onlooker = await connect(database);
    await onlooker.run(
      `CREATE TABLE handled (place bigint GENERATED ALWAYS AS IDENTITY, replica text, subject text, n integer)`,
    );
    replicas = [];
  });
  afterEach(async () => {
    for (const replica of replicas) replica.signal('SIGCONT');
    await Promise.all(replicas.map((replica) => replica.end('SIGKILL')));
    await closing?.();
    closing = undefined;
    await onlooker.close();
  });

  const start = async (name: string, options: Partial<ReplicaOptions> = {}) => {
    const replica = await Replica.start({ ...{ name, database }, ...options });
    replicas.push(replica);
    return replica;
  };
  const handled = () => onlooker.all<Handled>('SELECT replica, subject, n FROM handled ORDER BY place');
  const handledAll = (howMany: number, ms?: number) => eventually(handled, ({ length }) => length >= howMany, ms);
  /** How many shards each holder has, of both parts; the fewest first. */
  const shares = async () => {
    const rows = await onlooker.all<{ n: string }>(
      `SELECT COUNT(*) AS n FROM mesh_lease WHERE holder IN (SELECT replica FROM mesh_replica)
       GROUP BY part, holder ORDER BY n`,
    );
    return rows.map(({ n }) => Number(n));
  };
  const areShared = (expected: number[], ms?: number) =>
    eventually(shares, (seen) => JSON.stringify(seen) === JSON.stringify(expected), ms);
  const key = (n: number) => `5f0c9a2e-1111-4222-8333-${String(n).padStart(12, '0')}`;
  /** The messages of so many keys, turn by turn, each key's numbers ascending from `from` on. */
  const turns = (keys: number, each: number, from = 0): [string, number][] =>
    numbers(each).flatMap((n) => numbers(keys).map((k): [string, number] => [key(k), from + n]));
  const expectEachOnceInOrder = (rows: readonly Handled[], keys: number, each: number) => {
    for (const k of numbers(keys)) {
      expect(rows.filter(({ subject }) => subject === key(k)).map(({ n }) => n)).toEqual(numbers(each));
    }
    expect(rows).toHaveLength(keys * each);
  };

  it('share the work fairly, and anew whenever one comes or goes', async () => {
    const a = await start('a');
    await areShared([32, 32]);
    const b = await start('b');
    await areShared([16, 16, 16, 16]);
    await start('c');
    await areShared([10, 10, 11, 11, 11, 11]);
    await a.send(turns(60, 1));
    expect(new Set((await handledAll(60)).map(({ replica }) => replica)).size).toBe(3);
    await b.end();
    await areShared([16, 16, 16, 16], 3000);
    await a.end('SIGKILL');
    // Its session is gone with it: nobody waits for the lease to run out.
    await areShared([32, 32], 5000);
  }, 60_000);

  it('handle each message once, and each key in its order, while replicas come, end and are killed', async () => {
    const [KEYS, EACH] = [40, 60];
    const a = await start('a');
    const sending = a.send(turns(KEYS, EACH));
    const b = await start('b');
    const c = await start('c');
    await b.end('SIGKILL');
    const d = await start('d');
    await c.end();
    await start('b again');
    await d.end('SIGKILL');
    await sending;
    const rows = await handledAll(KEYS * EACH, 30_000);
    await wait(500);
    expectEachOnceInOrder(await handled(), KEYS, EACH);
    expect(new Set(rows.map(({ replica }) => replica)).size).toBeGreaterThan(2);
  }, 90_000);

  it.each([
    ['in front of its unit of work', { outsideMs: 400 }, 'began'],
    ['inside of its unit of work', { insideMs: 400 }, 'inside'],
  ])(
    'a replica that is paused %s is succeeded within its lease, and overwrites nothing when it comes back',
    async (_, slowness, sign) => {
      const [KEYS, EACH] = [24, 4];
      const paused = await start('paused', slowness);
      const other = await start('other', { outsideMs: 20 });
      await areShared([16, 16, 16, 16]);
      await other.send(turns(KEYS, EACH));
      await paused.hears((message) => sign in message);
      paused.signal('SIGSTOP');
      const stopped = performance.now();
      const before = (await handled()).length;
      await handledAll(KEYS * EACH, TAKEN_OVER_MS + 5000);
      const ms = performance.now() - stopped;
      expect(before).toBeLessThan(KEYS * EACH);
      expect(ms).toBeLessThan(TAKEN_OVER_MS);
      paused.signal('SIGCONT');
      await areShared([16, 16, 16, 16]);
      // It goes on with what it had in hand, and finds that it is done.
      await wait(1500);
      expectEachOnceInOrder(await handled(), KEYS, EACH);
      await other.send(turns(KEYS, 1, EACH));
      await handledAll(KEYS * (EACH + 1));
      expectEachOnceInOrder(await handled(), KEYS, EACH + 1);
    },
    60_000,
  );

  it('wake each other when something is committed, once for each commit at most', async () => {
    const a = await start('a');
    await start('b');
    await areShared([16, 16, 16, 16]);
    // Warm.
    await a.send(turns(40, 1));
    await handledAll(40);
    const notifications: string[] = [];
    const listener = new pg.Client({ connectionString: database });
    await listener.connect();
    listener.on('notification', ({ payload }) => notifications.push(payload!));
    await listener.query('LISTEN mesh');
    const began = performance.now();
    await a.send(turns(40, 1, 1), true);
    await handledAll(80);
    // The poll would have come after a second, for some of the keys.
    expect(performance.now() - began).toBeLessThan(600);
    await wait(100);
    expect(notifications.filter((payload) => payload.endsWith(' outbox'))).toHaveLength(1);
    await listener.end();
  }, 60_000);

  it('poll where notifications are turned off, and take over when a lease has run out', async () => {
    const a = await start('a', { notify: false });
    const b = await start('b', { notify: false });
    await areShared([16, 16, 16, 16]);
    await a.send(turns(40, 1));
    await handledAll(40, 4000);
    await b.end('SIGKILL');
    const killed = performance.now();
    await a.send(turns(40, 1, 1));
    await handledAll(80, TAKEN_OVER_MS + 5000);
    expect(performance.now() - killed).toBeLessThan(TAKEN_OVER_MS);
    expectEachOnceInOrder(await handled(), 40, 2);
  }, 60_000);

  it('a dead letter that is replayed through one replica reaches the one that has its key, at once', async () => {
    const a = await start('a');
    await start('b');
    await areShared([16, 16, 16, 16]);
    // Warm; and it shows who has which key.
    await a.send(turns(40, 1));
    const theirs = (await handledAll(40)).filter(({ replica }) => replica === 'b').slice(0, 4);
    const opened = await Database.open({ database, entities: [], histories: [], migrate: false });
    const work = new UnitOfWork(opened);
    closing = () => opened.close();
    for (const [index, { subject }] of theirs.entries()) {
      const event: CloudEvent = {
        ...{ specversion: '1.0', id: `e${index}`, source: 'usvc://planted/left', type: 'planted.left.work' },
        ...{ subject, partitionkey: subject, data: { n: 1 } },
      };
      await work.run(() =>
        insertDeadLetter(work.sql, { event, consumer: 'left', attempts: 1, error: new Error('Not yet') }),
      );
      const [letter] = await onlooker.all<{ id: string }>('SELECT id FROM mesh_dead_letter');
      const began = performance.now();
      a.tell({ replay: letter!.id });
      const rows = await handledAll(41 + index);
      // One after the other: the poll may find the first of them so soon, but none of the others.
      expect(performance.now() - began).toBeLessThan(600);
      expect(rows.at(-1)).toMatchObject({ replica: 'b', subject, n: 1 });
    }
    expect(theirs).toHaveLength(4);
  }, 60_000);

  it('take nothing under a token that has been overtaken, whoever is in the same transaction', async () => {
    const opened = await Database.open({ database, entities: [], histories: [], migrate: false });
    const work = new UnitOfWork(opened);
    closing = () => opened.close();
    // Somebody else's part: no replica of this test changes it.
    await onlooker.run(
      `INSERT INTO mesh_lease (part, shard, token) SELECT 'elsewhere', shard, 5 FROM generate_series(0, ${SHARDS - 1}) AS shard`,
    );
    const delivered = async (id: string) => {
      const [row] = await onlooker.all<{ seq: string; shard: number }>(
        `INSERT INTO mesh_delivery (consumer, id, type, partition_key, event, created_at, due_at)
         VALUES ('nobody', '${id}', 't', 'the same key', '{}', 0, 0) RETURNING seq, ${SHARD} AS shard`,
      );
      return row!;
    };
    const arrivals = [];
    for (const token of [3, 5, 6, 5]) {
      const { seq, shard } = await delivered(`under ${token}`);
      const event = { specversion: '1.0', id: seq, source: '/elsewhere', type: 't' } as const;
      const lease = { resource: 'elsewhere', shard, token };
      const delivery = { seq, consumer: 'nobody', key: 'the same key', event, attempts: 0, lease };
      arrivals.push({ consumer: 'nobody', event, delivery });
    }
    const [older, current, ahead, again] = arrivals as [
      IncomingMessage,
      IncomingMessage,
      IncomingMessage,
      IncomingMessage,
    ];
    const welcomed = (...those: IncomingMessage[]) => work.run(() => recordInInbox(work.sql, those));
    expect(await welcomed(older, current)).toEqual(['lease-lost', 'new']);
    expect(await welcomed(older)).toEqual(['lease-lost']);
    expect(await welcomed(again, ahead)).toEqual(['lease-lost', 'lease-lost']);
    expect(await welcomed(again)).toEqual(['new']);
  });

  it('keep quiet where there are more of them than there is to share', async () => {
    const connection = { connectionString: database };
    const all = numbers(SHARDS + 3).map(() => new PostgresLeases(connection, ['outbox'], true, new Logger()));
    let wakes = 0;
    try {
      for (const leases of all) await leases.start(() => void wakes++);
      const held = async () => all.map((leases) => leases.held('outbox').size);
      const isFair = (sizes: number[]) =>
        Math.max(...sizes) === 1 && sizes.filter((size) => size === 1).length === SHARDS;
      await eventually(held, isFair, 20_000);
      await wait(2000);
      wakes = 0;
      const listener = new pg.Client({ connectionString: database });
      await listener.connect();
      let notifications = 0;
      listener.on('notification', () => notifications++);
      await listener.query('LISTEN mesh');
      await wait(2000);
      await listener.end();
      expect({ wakes, notifications }).toEqual({ wakes: 0, notifications: 0 });
    } finally {
      await Promise.all(all.map((leases) => leases.stop()));
    }
  }, 60_000);

  describe('behind a broker', () => {
    let sink: Server;
    let url: string;
    let posted: { event: CloudEvent; at: number }[];
    let answer: (response: ServerResponse) => void;

    beforeEach(async () => {
      posted = [];
      answer = (response) => response.writeHead(202).end();
      sink = createServer((request, response) => {
        const chunks: Buffer[] = [];
        request.on('data', (chunk: Buffer) => chunks.push(chunk));
        request.on('end', () => {
          const [event] = toEvents({ headers: request.headers, body: Buffer.concat(chunks) });
          posted.push({ event: event!, at: performance.now() });
          answer(response);
        });
      });
      await new Promise<void>((resolve) => sink.listen(0, '127.0.0.1', resolve));
      url = `http://127.0.0.1:${(sink.address() as AddressInfo).port}/`;
    });
    afterEach(() => {
      sink.close();
      sink.closeAllConnections();
    });

    it('a paused publisher is succeeded; what is published again keeps its id and is handled once', async () => {
      const [KEYS, EACH] = [24, 4];
      const paused = await start('paused', { sink: url });
      const other = await start('other', { sink: url });
      await areShared([16, 16, 16, 16]);
      // The first answers come late: the publisher that is paused doesn't know what became of its messages.
      let late = 8;
      answer = (response) => void setTimeout(() => response.writeHead(202).end(), late-- > 0 ? 1000 : 0);
      await paused.send(turns(KEYS, EACH), true);
      await eventually(
        async () => posted.length,
        (n) => n >= 8,
      );
      paused.signal('SIGSTOP');
      const stopped = performance.now();
      const pending = async () =>
        Number((await onlooker.all<{ n: string }>('SELECT COUNT(*) AS n FROM mesh_outbox'))[0]!.n);
      const ids = () => new Set(posted.map(({ event }) => event.id)).size;
      await eventually(
        async () => ids(),
        (n) => n === KEYS * EACH,
        TAKEN_OVER_MS + 5000,
      );
      expect(performance.now() - stopped).toBeLessThan(TAKEN_OVER_MS);
      paused.signal('SIGCONT');
      await eventually(pending, (n) => n === 0, 20_000);
      // First seen, each key is in its order, whoever has published it.
      const first = new Map<string, CloudEvent>();
      for (const { event } of posted) if (!first.has(event.id)) first.set(event.id, event);
      for (const k of numbers(KEYS)) {
        const ofKey = [...first.values()].filter(({ subject }) => subject === key(k));
        expect(ofKey.map(({ data }) => (data as { n: number }).n)).toEqual(numbers(EACH));
      }
      expect(posted.length).toBeGreaterThan(KEYS * EACH);
      const received = () => other.heard.filter((message) => 'received' in message).length;
      for (const [index, { event }] of posted.entries()) {
        other.tell({ receive: event });
        await eventually(
          async () => received(),
          (n) => n > index,
        );
      }
      expectEachOnceInOrder(await handled(), KEYS, EACH);
    }, 60_000);
  });
});
