import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';
import pg from 'pg';
import { MeshLogger } from '../../src/infrastructure/observability/mesh-logger.js';
import { toEvents } from '../../src/infrastructure/cloudevents/http-parser.js';
import type { CloudEvent } from '../../src/infrastructure/cloudevents/cloud-event.js';
import { insertDeadLetter } from '../../src/infrastructure/store/dead-letter-rows.js';
import { recordInInbox, type IncomingMessage } from '../../src/infrastructure/store/inbox-rows.js';
import { SHARD, SHARDS } from '../../src/infrastructure/store/lease-rows.js';
import { PostgresLeases } from '../../src/infrastructure/leases/postgres-leases.js';
import { Database } from '../../src/infrastructure/persistence/database.js';
import { UnitOfWork } from '../../src/infrastructure/persistence/unit-of-work.js';
import { ROOT } from '../../tools/source.js';
import { eventually, expectFasterThan } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';
import { connect, numbers, type Connection } from '../support/notes.js';
import { plant } from '../support/planted.js';
import type { Instruction, ReplicaOptions } from '../support/replica-child.js';
import { itThorough, selected } from '../support/thorough.js';

/**
 * A lease lasts 6 s, which are four heartbeats. One more may be in flight when its holder stops, and another two may pass
 * until the shards are taken over. Counted in heartbeats of the successor, so that a busy machine makes no difference.
 */
const MAX_HEARTBEATS = 7;

/** A process on the database of the test. */
class Replica {
  readonly received: Record<string, unknown>[] = [];

  private constructor(
    readonly name: string,
    private readonly child: ChildProcess,
  ) {
    child.on('message', (message: Record<string, unknown>) => this.received.push(message));
  }

  static async start(options: ReplicaOptions): Promise<Replica> {
    const args = [
      '--import',
      './workshop/runner/typescript.mjs',
      'test/support/replica-child.ts',
      JSON.stringify(options),
    ];
    const stdio = ['ignore', 'ignore', 'inherit', 'ipc'] as const;
    const child = spawn(process.execPath, args, { cwd: ROOT, env: { PATH: process.env.PATH }, stdio: [...stdio] });
    const replica = new Replica(options.name, child);
    await replica.receives(({ isReady }) => isReady === true);
    return replica;
  }

  /** Waits for a message of the process, or for its exit. */
  async receives(isExpected: (message: Record<string, unknown>) => boolean): Promise<void> {
    await eventually(
      async () => this.received.some(isExpected) || this.child.exitCode !== null,
      (isOver) => isOver,
    );
  }

  instruct(instruction: Instruction): void {
    this.child.send(instruction);
  }

  /** Sends messages one after the other. Resolves when they are committed. */
  async send(messages: [string, number][], inOneUnit = false): Promise<void> {
    const before = this.received.filter(({ sent }) => sent).length;
    this.instruct({ send: messages, inOneUnit });
    await eventually(
      async () => this.received.filter(({ sent }) => sent).length,
      (n) => n > before,
    );
  }

  signal(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }

  async end(signal?: NodeJS.Signals): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const exited = once(this.child, 'exit');
    if (signal) this.child.kill(signal);
    else this.instruct({ end: true });
    await exited;
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
  let observer: Connection;
  let replicas: Replica[];
  /** Closes the database that a test has opened itself. */
  let closing: (() => Promise<void>) | undefined;

  beforeEach(async () => {
    database = await postgres!.fresh();
    // Creates the tables.
    await (await plant({ database }, {})).app.close();
    observer = await connect(database);
    await observer.run(
      `CREATE TABLE handled (position bigint GENERATED ALWAYS AS IDENTITY, replica text, subject text, n integer)`,
    );
    replicas = [];
  });
  afterEach(async () => {
    for (const replica of replicas) replica.signal('SIGCONT');
    await Promise.all(replicas.map((replica) => replica.end('SIGKILL')));
    await closing?.();
    closing = undefined;
    await observer.close();
  });

  const start = async (name: string, options: Partial<ReplicaOptions> = {}) => {
    const replica = await Replica.start({ name, database, ...options });
    replicas.push(replica);
    return replica;
  };
  const handled = () => observer.all<Handled>('SELECT replica, subject, n FROM handled ORDER BY position');
  const handledAll = (count: number) => eventually(handled, ({ length }) => length >= count);
  /** Number of shards of each replica for each of the two resources, in ascending order. */
  const sharesOfReplicas = async () => {
    const rows = await observer.all<{ n: string }>(
      `SELECT COUNT(*) AS n FROM mesh_lease WHERE holder IN (SELECT replica FROM mesh_replica)
       GROUP BY part, holder ORDER BY n`,
    );
    return rows.map(({ n }) => Number(n));
  };
  const areShared = (...expected: number[]) =>
    eventually(sharesOfReplicas, (shares) => JSON.stringify(shares) === JSON.stringify(expected));
  /** Waits until only one replica is left. @returns the number of its heartbeats until then */
  const heartbeatsUntilAlone = async () => {
    const heartbeats = new Map<string, Set<string>>();
    await eventually(
      async () => {
        const rows = await observer.all<{ replica: string; expires_at: string }>(
          'SELECT replica, MAX(expires_at)::text AS expires_at FROM mesh_replica GROUP BY replica',
        );
        for (const { replica, expires_at } of rows) {
          heartbeats.set(replica, (heartbeats.get(replica) ?? new Set()).add(expires_at));
        }
        return sharesOfReplicas();
      },
      (shares) => JSON.stringify(shares) === '[32,32]',
    );
    return Math.max(...[...heartbeats.values()].map(({ size }) => size)) - 1;
  };
  const key = (n: number) => `5f0c9a2e-1111-4222-8333-${String(n).padStart(12, '0')}`;
  /** Messages of several keys in turn. The numbers of each key ascend from `from` on. */
  const messagesOf = (keys: number, each: number, from = 0): [string, number][] =>
    numbers(each).flatMap((n) => numbers(keys).map((k): [string, number] => [key(k), from + n]));
  const expectEachOnceInOrder = (rows: readonly Handled[], keys: number, each: number) => {
    const logged = replicas.flatMap(({ received }) =>
      received.flatMap(({ logged }) => (typeof logged === 'string' ? [logged] : [])),
    );
    for (const k of numbers(keys)) {
      const order = rows.filter(({ subject }) => subject === key(k)).map(({ n }) => n);
      if (order.some((n, at) => n !== at)) throw new Error(`${order.join()}\n${logged.join('\n')}`);
    }
    expect(rows).toHaveLength(keys * each);
  };

  itThorough('share the partition keys equally, also after one starts, stops or is killed', async () => {
    const a = await start('a');
    await areShared(32, 32);
    const b = await start('b');
    await areShared(16, 16, 16, 16);
    await start('c');
    await areShared(10, 10, 11, 11, 11, 11);
    await a.send(messagesOf(60, 1));
    expect(new Set((await handledAll(60)).map(({ replica }) => replica)).size).toBe(3);
    await b.end();
    await areShared(16, 16, 16, 16);
    // A lease expires 4.5 s after the end of its holder at the earliest. The other replicas notice the end before.
    for (const signal of [undefined, 'SIGKILL'] as const) {
      await expectFasterThan(4000, async (run) => {
        const third = await start(`${signal} ${run}`);
        await areShared(10, 10, 11, 11, 11, 11);
        const began = performance.now();
        await third.end(signal);
        await areShared(16, 16, 16, 16);
        return performance.now() - began;
      });
    }
  });

  it('handle each message once and each key in order while replicas start, stop and are killed', async () => {
    const [KEYS, EACH] = [40, 60];
    const a = await start('a');
    const sending = a.send(messagesOf(KEYS, EACH));
    const b = await start('b');
    const c = await start('c');
    await b.end('SIGKILL');
    const d = await start('d');
    await c.end();
    await start('b again');
    await d.end('SIGKILL');
    await sending;
    const rows = await handledAll(KEYS * EACH);
    await wait(500);
    expectEachOnceInOrder(await handled(), KEYS, EACH);
    expect(new Set(rows.map(({ replica }) => replica)).size).toBeGreaterThan(2);
  });

  const pauses = [
    ['before its unit of work', { prepareMs: 400 }, 'preparing'],
    ['inside its unit of work', { unitMs: 400 }, 'insideUnit'],
  ] as const;
  it.each(selected(pauses, ([, , sign]) => sign === 'insideUnit'))(
    'take over the keys of a replica that is paused %s, which changes nothing when it continues',
    async (_, duration, sign) => {
      const [KEYS, EACH] = [24, 4];
      const paused = await start('paused', duration);
      const other = await start('other', { prepareMs: 20 });
      await areShared(16, 16, 16, 16);
      await other.send(messagesOf(KEYS, EACH));
      await paused.receives((message) => sign in message);
      paused.signal('SIGSTOP');
      const before = (await handled()).length;
      expect(await heartbeatsUntilAlone()).toBeLessThanOrEqual(MAX_HEARTBEATS);
      await handledAll(KEYS * EACH);
      expect(before).toBeLessThan(KEYS * EACH);
      paused.signal('SIGCONT');
      await areShared(16, 16, 16, 16);
      // The paused replica continues its attempts in flight, and finds their messages handled.
      await wait(1500);
      expectEachOnceInOrder(await handled(), KEYS, EACH);
      await other.send(messagesOf(KEYS, 1, EACH));
      await handledAll(KEYS * (EACH + 1));
      expectEachOnceInOrder(await handled(), KEYS, EACH + 1);
    },
  );

  it('wake each other at a commit, with at most one notification for each', async () => {
    const a = await start('a');
    await start('b');
    await areShared(16, 16, 16, 16);
    // Opens the connections.
    await a.send(messagesOf(40, 1));
    await handledAll(40);
    const notifications: string[] = [];
    const listener = new pg.Client({ connectionString: database });
    await listener.connect();
    listener.on('notification', ({ payload }) => notifications.push(payload!));
    await listener.query('LISTEN mesh');
    let commits = 0;
    const sendAndHandle = async () => {
      await a.send(messagesOf(40, 1, ++commits), true);
      await handledAll(40 * (commits + 1));
    };
    // A commit that waits for the poll takes about a second, because the one before ended at the last poll.
    await expectFasterThan(600, sendAndHandle, { times: 3, maxRuns: 30 });
    await wait(100);
    const ofDeliveries = notifications.filter((payload) => payload.endsWith(' deliveries'));
    expect(ofDeliveries.length).toBeGreaterThan(0);
    expect(ofDeliveries.length).toBeLessThanOrEqual(commits);
    await listener.end();
  });

  itThorough('poll when notifications are disabled, and take over expired leases', async () => {
    const a = await start('a', { notify: false });
    const b = await start('b', { notify: false });
    await areShared(16, 16, 16, 16);
    await a.send(messagesOf(40, 1));
    await handledAll(40);
    await b.end('SIGKILL');
    await a.send(messagesOf(40, 1, 1));
    expect(await heartbeatsUntilAlone()).toBeLessThanOrEqual(MAX_HEARTBEATS);
    await handledAll(80);
    expectEachOnceInOrder(await handled(), 40, 2);
  });

  it('deliver a dead letter to the replica that holds its key, without waiting for the poll', async () => {
    const a = await start('a');
    await start('b');
    await areShared(16, 16, 16, 16);
    // Opens the connections, and shows which replica holds which key.
    await a.send(messagesOf(40, 1));
    const ofB = (await handledAll(40)).filter(({ replica }) => replica === 'b');
    const opened = await Database.open({ database, entities: [], histories: [], migrate: false });
    const work = new UnitOfWork(opened);
    closing = () => opened.close();
    const requeue = async (index: number) => {
      const { subject } = ofB[index]!;
      const event: CloudEvent = {
        specversion: '1.0',
        id: `e${index}`,
        source: 'usvc://planted/left',
        type: 'planted.left.work',
        subject,
        partitionkey: subject,
        data: { n: 1 },
      };
      await work.run(() =>
        insertDeadLetter(work.sql, { event, consumer: 'left', attempts: 1, error: new Error('not yet') }),
      );
      const [letter] = await observer.all<{ id: string }>('SELECT id FROM mesh_dead_letter');
      const began = performance.now();
      a.instruct({ requeue: letter!.id });
      const rows = await handledAll(41 + index);
      const ms = performance.now() - began;
      expect(rows.at(-1)).toMatchObject({ replica: 'b', subject, n: 1 });
      return ms;
    };
    // A message that waits for the poll takes about a second, because the one before ended at the last poll.
    expect(ofB.length).toBeGreaterThanOrEqual(4);
    await expectFasterThan(600, requeue, { times: 4, maxRuns: ofB.length });
  });

  it('record no message under an outdated fencing token, also next to other messages of the transaction', async () => {
    const opened = await Database.open({ database, entities: [], histories: [], migrate: false });
    const work = new UnitOfWork(opened);
    closing = () => opened.close();
    // No replica of this test uses this resource.
    await observer.run(
      `INSERT INTO mesh_lease (part, shard, token) SELECT 'elsewhere', shard, 5 FROM generate_series(0, ${SHARDS - 1}) AS shard`,
    );
    const insertDelivery = async (id: string) => {
      const [row] = await observer.all<{ seq: string; shard: number }>(
        `INSERT INTO mesh_delivery (consumer, id, type, partition_key, event, created_at, due_at)
         VALUES ('none', '${id}', 't', 'the same key', '{}', 0, 0) RETURNING seq, ${SHARD} AS shard`,
      );
      return row!;
    };
    const messages = [];
    for (const token of [3, 5, 6, 5]) {
      const { seq, shard } = await insertDelivery(`under ${token}`);
      const event = { specversion: '1.0', id: seq, source: '/elsewhere', type: 't' } as const;
      const lease = { resource: 'elsewhere', shard, token };
      const delivery = { seq, consumer: 'none', key: 'the same key', event, attempts: 0, lease };
      messages.push({ consumer: 'none', event, delivery });
    }
    const [outdated, current, future, repeated] = messages as [
      IncomingMessage,
      IncomingMessage,
      IncomingMessage,
      IncomingMessage,
    ];
    const record = (...incoming: IncomingMessage[]) => work.run(() => recordInInbox(work.sql, incoming));
    expect(await record(outdated, current)).toEqual(['lease-lost', 'new']);
    expect(await record(outdated)).toEqual(['lease-lost']);
    expect(await record(repeated, future)).toEqual(['lease-lost', 'lease-lost']);
    expect(await record(repeated)).toEqual(['new']);
  });

  it('neither wake nor notify each other when there are more replicas than shards', async () => {
    const connection = { connectionString: database, Client: pg.Client };
    const all = numbers(SHARDS + 3).map(() => new PostgresLeases(connection, ['outbox'], true, new MeshLogger()));
    let wakes = 0;
    try {
      for (const leases of all) await leases.start(() => void wakes++);
      const held = async () => all.map((leases) => leases.held('outbox').size);
      const isFair = (sizes: number[]) =>
        Math.max(...sizes) === 1 && sizes.filter((size) => size === 1).length === SHARDS;
      await eventually(held, isFair);
      const listener = new pg.Client({ connectionString: database });
      await listener.connect();
      let notifications = 0;
      listener.on('notification', () => notifications++);
      await listener.query('LISTEN mesh');
      // Each replica sends a heartbeat in this time. On a busy machine leases may expire, so the first times may be noisy.
      const eventsIn2s = async () => {
        wakes = notifications = 0;
        await wait(2000);
        return { wakes, notifications };
      };
      await eventually(eventsIn2s, (events) => events.wakes === 0 && events.notifications === 0);
      await listener.end();
    } finally {
      await Promise.all(all.map((leases) => leases.stop()));
    }
  });

  it('keep their leases after a column of the leases got another type', async () => {
    const connection = { connectionString: database, Client: pg.Client };
    const leases = new PostgresLeases(connection, ['outbox'], true, new MeshLogger());
    const shardsAfter = async (change: string) => {
      const administrator = await connect(database);
      await administrator.run(change).finally(() => administrator.close());
      // A statement that fails for ever lets the leases expire.
      await wait(7000);
      return leases.held('outbox').size;
    };
    try {
      await leases.start(() => undefined);
      expect(leases.held('outbox').size).toBe(SHARDS);
      expect(await shardsAfter('ALTER TABLE mesh_lease ALTER COLUMN part TYPE varchar(100)')).toBe(SHARDS);
    } finally {
      await leases.stop();
    }
  }, 30_000);

  describe('publishing to a broker', () => {
    let broker: Server;
    let url: string;
    /** The path tells which replica sent the request. */
    let posted: { event: CloudEvent; path: string }[];
    let respond: (response: ServerResponse) => void;

    beforeEach(async () => {
      posted = [];
      respond = (response) => response.writeHead(202).end();
      broker = createServer((request, response) => {
        const chunks: Buffer[] = [];
        request.on('data', (chunk: Buffer) => chunks.push(chunk));
        request.on('end', () => {
          const [event] = toEvents({ headers: request.headers, body: Buffer.concat(chunks) });
          posted.push({ event: event!, path: request.url! });
          respond(response);
        });
      });
      await new Promise<void>((resolve) => broker.listen(0, '127.0.0.1', resolve));
      url = `http://127.0.0.1:${(broker.address() as AddressInfo).port}/`;
    });
    afterEach(() => {
      broker.close();
      broker.closeAllConnections();
    });

    it('take over from a paused publisher; events published again keep their ids and are handled once', async () => {
      const [KEYS, EACH] = [24, 4];
      const paused = await start('paused', { sink: `${url}paused` });
      const other = await start('other', { sink: `${url}other` });
      await areShared(16, 16, 16, 16);
      // The broker holds its responses, so the paused publisher doesn't know that its events were accepted.
      const held: ServerResponse[] = [];
      const accept = respond;
      respond = (response) => void held.push(response);
      await paused.send(messagesOf(KEYS, EACH), true);
      const postedBy = (name: string) => posted.filter(({ path }) => path === `/${name}`).map(({ event }) => event.id);
      await eventually(
        async () => postedBy('paused').length,
        (n) => n >= 4,
      );
      paused.signal('SIGSTOP');
      await wait(100);
      respond = accept;
      const unanswered = postedBy('paused');
      held.forEach(accept);
      const pending = async () =>
        Number((await observer.all<{ n: string }>('SELECT COUNT(*) AS n FROM mesh_outbox'))[0]!.n);
      expect(await heartbeatsUntilAlone()).toBeLessThanOrEqual(MAX_HEARTBEATS);
      const ids = () => new Set(posted.map(({ event }) => event.id)).size;
      await eventually(
        async () => ids(),
        (n) => n === KEYS * EACH,
      );
      expect(postedBy('other')).toEqual(expect.arrayContaining(unanswered));
      paused.signal('SIGCONT');
      await eventually(pending, (n) => n === 0);
      // The first publications of each key are in order.
      const first = new Map<string, CloudEvent>();
      for (const { event } of posted) if (!first.has(event.id)) first.set(event.id, event);
      for (const k of numbers(KEYS)) {
        const ofKey = [...first.values()].filter(({ subject }) => subject === key(k));
        expect(ofKey.map(({ data }) => (data as { n: number }).n)).toEqual(numbers(EACH));
      }
      expect(posted.length).toBeGreaterThan(KEYS * EACH);
      const receipts = () => other.received.filter((message) => 'received' in message).length;
      for (const [index, { event }] of posted.entries()) {
        other.instruct({ receive: event });
        await eventually(
          async () => receipts(),
          (n) => n > index,
        );
      }
      expectEachOnceInOrder(await handled(), KEYS, EACH);
    });
  });
});
