import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { CommandBus } from '@nestjs/cqrs';
import type { TestingModule } from '@nestjs/testing';
import type { BrokerOptions, MeshOptions } from '../../src/infrastructure/mesh-options.js';
import type { CloudEvent } from '../../src/infrastructure/cloudevents/cloud-event.js';
import { DeadLetters } from '../../src/infrastructure/dead-letters/dead-letters.js';
import { insertIntoOutbox, OUTBOX_COLUMNS, outboxValues } from '../../src/infrastructure/store/outbox-rows.js';
import { Relay } from '../../src/infrastructure/outbox/relay.js';
import { outboxStatistics } from '../../src/infrastructure/store/statistics.js';
import { UnitTimedOut } from '../../src/infrastructure/persistence/sql.js';
import { UnitOfWork } from '../../src/infrastructure/persistence/unit-of-work.js';
import { eventually } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';
import { FakeBroker, status, TLS, type Answer, type Posted } from '../support/fake-broker.js';
import { numbers } from '../support/notes.js';
import { plant, Work } from '../support/planted.js';
import { itThorough } from '../support/thorough.js';

describe.each(DATABASES)('Publishing on $kind', ({ kind, fresh }) => {
  let app: TestingModule;
  let broker: FakeBroker;
  let database: string;

  const start = async (more: Partial<BrokerOptions> = {}, options: Partial<MeshOptions> = {}) => {
    const delivery = { timeoutMs: 20_000, ...options.delivery };
    ({ app } = await plant({ database, broker: { sink: broker.url, ...more }, ...options, delivery }, {}));
  };
  beforeEach(async () => {
    database = await fresh();
    broker = new FakeBroker();
    await broker.open();
  });
  afterEach(async () => {
    await app.close();
    await broker.close();
  });

  const work = () => app.get(UnitOfWork);
  const deadLetters = () => app.get(DeadLetters);
  const pending = async () => (await outboxStatistics(work().sql)).pending;
  const idle = (ms?: number) => eventually(pending, (count) => count === 0, ms);
  const key = (n: number) => `5f0c9a2e-1111-4222-8333-${String(n).padStart(12, '0')}`;
  const send = (n: number, subject = key(0)) => app.get(CommandBus).execute(new Work(subject, { n }));
  const storeLarge = async (n: number, padding: string): Promise<void> => {
    const event = { specversion: '1.0', id: `large-${n}`, source: 'usvc://planted/left', type: 'planted.left.work' };
    const whole = { ...event, subject: key(n), data: { n, padding } } as CloudEvent;
    try {
      await work().run(() => insertIntoOutbox(work().sql, [whole]));
    } catch (error) {
      // A busy machine may need more than the second that a unit of work has.
      if (!(error instanceof UnitTimedOut)) throw error;
      await storeLarge(n, padding);
    }
  };
  const dataOf = ({ event }: Posted) => (event.data as { n: number }).n;
  /** The first request of each event. */
  const firsts = (accepted: readonly Posted[]) => {
    const seen = new Set<string>();
    return accepted.filter(({ event: { id } }) => !seen.has(id) && seen.add(id));
  };

  it('posts a message as the stored CloudEvent in binary mode, and deletes it when it is accepted', async () => {
    await start();
    await work().run(async () => {
      await send(1);
      expect(broker.posted).toEqual([]);
    });
    await idle();
    expect(broker.posted).toHaveLength(1);
    const [{ request, event }] = broker.posted as [Posted];
    expect(request.method).toBe('POST');
    expect(request.url).toBe('/cabs/default');
    expect(request.headers).toMatchObject({
      'content-type': 'application/json',
      'ce-specversion': '1.0',
      'ce-source': 'usvc://planted/left',
      'ce-type': 'planted.left.work',
      'ce-subject': key(0),
      'ce-dataschema': 'urn:planted:schema:planted.left.work:1',
      'ce-partitionkey': key(0),
    });
    expect(request.headers.traceparent).toBe(request.headers['ce-traceparent']);
    expect(event.data).toEqual({ n: 1 });
    expect(event.id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7/);
  });

  it('loses no message and keeps each key in order while the broker fails at random', async () => {
    const accepted: Posted[] = [];
    let isFailing = true;
    const failures: Answer[] = [
      ...[500, 502, 503, 404, 401, 403, 408, 409, 425].map((code) => status(code)),
      status(429, { 'retry-after': '0' }),
      (_, response) => response.writeHead(503).end('x'.repeat(100_000)),
      (_, response) => response.socket!.destroy(),
      (_, response) => response.socket!.end('HTTP/1.1 this is no HTTP\r\n\r\n'),
      (_, response) => response.socket!.end('HTTP/1.1 202 Accepted\r\ncontent-le'),
      (_, response) => {
        response.writeHead(500, { 'content-length': '100' }).write('half of');
        setTimeout(() => response.socket?.destroy(), 20);
      },
      (_, response) => setTimeout(() => response.writeHead(500).end(), 30),
      // The broker accepts the message, but the response is lost.
      (posted, response) => {
        accepted.push(posted);
        response.socket!.destroy();
      },
    ];
    broker.answer = (posted, response) => {
      if (isFailing && Math.random() < 0.4) {
        return failures[Math.floor(Math.random() * failures.length)]!(posted, response);
      }
      accepted.push(posted);
      return response.writeHead(202).end();
    };
    await start();
    const [keys, perKey] = [20, 15];
    for (let n = 0; n < perKey; n++) await Promise.all(numbers(keys).map((k) => send(n, key(k))));
    setTimeout(() => (isFailing = false), 1500);
    await idle(60_000);
    const first = firsts(accepted);
    for (const k of numbers(keys)) {
      expect(first.filter(({ event }) => event.subject === key(k)).map(dataOf)).toEqual(numbers(perKey));
    }
    expect(await deadLetters().count({})).toBe(0);
  }, 90_000);

  /** Inserting large messages takes a while on PostgreSQL. */
  const itLarge = kind === 'sqlite' ? it : itThorough;
  itLarge(
    'keeps at most 16 large messages in memory',
    async () => {
      await start();
      await broker.close();
      const padding = 'x'.repeat(1_000_000);
      for (let n = 0; n < 40; n++) {
        await storeLarge(n, padding);
      }
      const { queues } = app.get(Relay)['dispatcher'] as unknown as {
        queues: { partitions: ReadonlyMap<string, { messages: { event?: unknown }[] }> };
      };
      const inMemory = () =>
        [...queues.partitions.values()].flatMap(({ messages }) => messages.filter(({ event }) => event)).length;
      let [maxInMemory, maxInFlight, inFlight] = [0, 0, 0];
      broker.answer = (_, response) => {
        maxInMemory = Math.max(maxInMemory, inMemory());
        maxInFlight = Math.max(maxInFlight, ++inFlight);
        setTimeout(() => {
          inFlight--;
          response.writeHead(202).end();
        }, 20);
      };
      await broker.open();
      await idle(40_000);
      expect(broker.posted).toHaveLength(40);
      expect(maxInMemory).toBeLessThanOrEqual(16);
      expect(maxInFlight).toBeLessThanOrEqual(16);
    },
    90_000,
  );

  itLarge(
    'publishes past large messages that fail, and retries these unchanged',
    async () => {
      await start();
      const refuse: Answer = (posted, response) => response.writeHead(dataOf(posted) < 6 ? 500 : 202).end();
      broker.answer = refuse;
      const padding = 'x'.repeat(3_500_000);
      for (const n of numbers(6)) {
        await storeLarge(n, padding);
      }
      for (const n of numbers(20)) await send(6 + n, key(6 + n));
      await eventually(pending, (count) => count === 6, 40_000);
      broker.answer = status(202);
      await idle(40_000);
      const last = new Map(broker.posted.map((posted) => [dataOf(posted), posted.event]));
      for (const n of numbers(6)) expect(last.get(n)).toMatchObject({ id: `large-${n}`, data: { padding } });
    },
    120_000,
  );

  it('waits for an unavailable broker, and then publishes the waiting messages in order', async () => {
    await start();
    await send(0);
    await idle();
    await broker.close();
    for (const n of numbers(30)) await send(n + 1);
    await wait(1000);
    expect(await pending()).toBe(30);
    expect(app.get(Relay).suspendedReason).toBeUndefined();
    await broker.open();
    await idle();
    expect(firsts(broker.posted).map(dataOf)).toEqual(numbers(31));
  });

  it('retries after each timeout of a broker that never answers', async () => {
    broker.answer = () => undefined;
    await start({ publishTimeoutMs: 200 });
    await send(1);
    await eventually(
      async () => broker.posted.length,
      (count) => count >= 3,
    );
    broker.answer = status(202);
    await idle();
    expect(new Set(broker.posted.map(({ event }) => event.id)).size).toBe(1);
  });

  it('blocks only the key of a message that the broker never accepts', async () => {
    broker.answer = (posted, response) => {
      response.writeHead(dataOf(posted) === 0 ? 500 : 202).end();
    };
    await start();
    await send(0, key(1));
    await send(1, key(1));
    for (const n of numbers(40)) await send(n + 2, key(2 + (n % 5)));
    await eventually(pending, (count) => count === 2);
    expect(broker.posted.map(dataOf)).not.toContain(1);
    broker.answer = status(202);
    await idle();
    expect(firsts(broker.posted.filter(({ event }) => event.subject === key(1))).map(dataOf)).toEqual([0, 1]);
  });

  it.each([413, 415, 422])(
    'dead-letters a message answered %i, goes on with its key, and keeps the id when the message is requeued',
    async (code) => {
      broker.answer = (posted, response) => response.writeHead(dataOf(posted) === 0 ? code : 202).end('no');
      await start();
      for (const n of numbers(3)) await send(n);
      await idle();
      expect(firsts(broker.posted).map(dataOf)).toEqual([0, 1, 2]);
      const [letter] = await deadLetters().list({}, { limit: 10, offset: 0 });
      expect(letter).toMatchObject({ consumer: 'k-sink', type: 'planted.left.work', attempts: 1 });
      expect(letter!.error).toContain(`The broker answered ${code}: no`);
      broker.answer = status(202);
      const { event } = (await deadLetters().find(letter!.id))!;
      expect(await deadLetters().requeue(letter!.id, false)).toBe(true);
      await idle();
      expect(broker.posted.at(-1)!.event).toEqual(event);
      expect(await deadLetters().count({})).toBe(0);
    },
  );

  it('refuses to store an event that HTTP can’t carry, and dead-letters one that is stored anyway', async () => {
    await start();
    await expect(send(0, 'half a \ud83d')).rejects.toThrow('subject: expected no control characters');
    await expect(send(0, '')).rejects.toThrow('subject: expected a string that is not empty');
    await work().run(async () => {
      const broken = { specversion: '1.0', id: 'x', source: '/x', type: 'x', myext: { an: 'object' } };
      await insertIntoOutbox(work().sql, [{ ...broken, partitionkey: key(0) }]);
      await send(1);
    });
    await idle();
    expect(broker.posted.map(dataOf)).toEqual([1]);
    expect(await deadLetters().list({}, { limit: 10, offset: 0 })).toMatchObject([{ consumer: 'k-sink', type: 'x' }]);
  });

  it('dead-letters a message answered 400 when the broker accepts other messages', async () => {
    broker.answer = (posted, response) => response.writeHead(dataOf(posted) === 0 ? 400 : 202).end();
    await start();
    await send(0, key(1));
    await eventually(
      async () => broker.posted.length,
      (count) => count >= 2,
    );
    // Until the broker has accepted another message, K_SINK may be wrong.
    expect(await deadLetters().count({})).toBe(0);
    await send(1, key(2));
    await idle();
    expect(await deadLetters().list({}, { limit: 10, offset: 0 })).toMatchObject([{ subject: key(1) }]);
    expect(app.get(Relay).suspendedReason).toBeUndefined();
  });

  it('suspends publishing after several messages in a row answered 400, and resumes by itself', async () => {
    broker.answer = status(400);
    await start();
    for (const n of numbers(5)) await send(n, key(n));
    await eventually(
      async () => app.get(Relay).suspendedReason,
      (why) => why !== undefined,
    );
    expect(app.get(Relay).suspendedReason).toContain(broker.url);
    expect(await deadLetters().count({})).toBe(0);
    const [before, since] = [broker.posted.length, performance.now()];
    await wait(500);
    // One at a time, with pauses: fewer than 8 in 500 ms.
    expect(broker.posted.length - before).toBeLessThan((8 * (performance.now() - since)) / 500);
    broker.answer = status(202);
    await idle();
    expect(app.get(Relay).suspendedReason).toBeUndefined();
    expect(await deadLetters().count({})).toBe(0);
  });

  it('waits as long as Retry-After asks', async () => {
    const times: number[] = [];
    broker.answer = ({ at }, response) => {
      times.push(at);
      if (times.length === 1) response.writeHead(429, { 'retry-after': '1' }).end();
      else response.writeHead(202).end();
    };
    await start();
    await send(1);
    await idle();
    expect(times).toHaveLength(2);
    expect(times[1]! - times[0]!).toBeGreaterThanOrEqual(990);
  });

  it('does not follow a redirect, and retries the message', async () => {
    broker.answer = status(302, { location: `${broker.url}/elsewhere` });
    await start();
    await send(1);
    await eventually(
      async () => broker.posted.length,
      (count) => count >= 2,
    );
    expect(broker.posted.every(({ request }) => request.method === 'POST' && request.url === '/cabs/default')).toBe(
      true,
    );
    expect(await pending()).toBe(1);
    broker.answer = status(202);
    await idle();
  });

  it('adds K_CE_OVERRIDES, and reads the token file again after a 401', async () => {
    const file = join(mkdtempSync(join(tmpdir(), 'cabs-token-')), 'token');
    writeFileSync(file, 'old');
    broker.answer = ({ request }, response) => {
      if (request.headers.authorization === 'Bearer new') return response.writeHead(202).end();
      writeFileSync(file, 'new');
      return response.writeHead(401).end();
    };
    await start({ tokenFile: file, extensions: { cluster: 'one' } });
    await send(1);
    await idle();
    expect(broker.posted.map(({ request }) => request.headers.authorization)).toEqual(['Bearer old', 'Bearer new']);
    expect(broker.posted.at(-1)!.event).toMatchObject({ cluster: 'one' });
  });

  it('trusts K_CA_CERTS, and sends nothing to an untrusted broker', async () => {
    await broker.close();
    broker = new FakeBroker(true);
    await broker.open();
    await start();
    await send(1);
    await wait(300);
    expect(broker.posted).toEqual([]);
    expect(await pending()).toBe(1);
    await app.close();
    await start({ caCerts: TLS.cert });
    await idle();
    expect(broker.posted.map(dataOf)).toEqual([1]);
  });

  it('publishes the messages of an ended process after a restart', async () => {
    broker.answer = status(503);
    await start();
    for (const n of numbers(10)) await send(n);
    await app.close();
    broker.answer = status(202);
    await start();
    await idle();
    expect(firsts(broker.posted).map(dataOf)).toEqual(numbers(10));
  });

  it('publishes ready messages at shutdown', async () => {
    await start({}, { shutdownGraceMs: 20_000 });
    await work().run(async () => {
      for (const n of numbers(200)) await send(n, key(n));
    });
    await app.close();
    expect(firsts(broker.posted)).toHaveLength(200);
    await start();
    expect(await pending()).toBe(0);
  });

  if (kind === 'postgres') {
    it('keeps a key in order when a message was committed later than one with a larger number', async () => {
      await start();
      const reserve = `SELECT nextval(pg_get_serial_sequence('mesh_outbox', 'seq')) AS seq`;
      const [reserved] = await work().run(() => work().sql.all<{ seq: string }>(reserve));
      await send(0, key(1));
      await idle();
      await work().run(async () => {
        const event = { specversion: '1.0', id: 'late', source: 'usvc://planted/left', type: 'planted.left.work' };
        await work().sql.run(
          `INSERT INTO mesh_outbox (seq, ${OUTBOX_COLUMNS.join(', ')}) OVERRIDING SYSTEM VALUE
           VALUES ($1, $2, $3, $4, $5, $6, $7)`,
          [reserved!.seq, ...outboxValues({ ...event, subject: key(2), data: { n: 1 } })],
        );
      });
      await send(2, key(2));
      await idle();
      expect(broker.posted.map(dataOf)).toEqual([0, 1, 2]);
    });

    it('keeps a key in order over two processes on one database, also when one of them ends', async () => {
      await start();
      const first = app;
      await start();
      const second = app;
      for (const n of numbers(40)) await (n % 2 ? first : second).get(CommandBus).execute(new Work(key(0), { n }));
      await idle();
      await first.close();
      for (const n of numbers(20)) await send(n + 40);
      await idle();
      expect(firsts(broker.posted).map(dataOf)).toEqual(numbers(60));
    });
  }
});
