import { Module } from '@nestjs/common';
import { CommandBus, CommandHandler, EventBus, EventsHandler } from '@nestjs/cqrs';
import { Test, type TestingModule } from '@nestjs/testing';
import { z } from 'zod';
import type {
  CausedBy,
  DurableCommandBatchHandler,
  DurableEventBatchHandler,
} from '../../src/infrastructure/contracts/batch-handler.js';
import { MeshFeature } from '../../src/infrastructure/contracts/mesh-feature.js';
import { durableCommand, durableEvent } from '../../src/infrastructure/contracts/message.js';
import { DeadLetters } from '../../src/infrastructure/dead-letters/dead-letters.js';
import { InboxReceiver } from '../../src/infrastructure/delivery/inbox-receiver.js';
import { MeshModule } from '../../src/infrastructure/mesh.module.js';
import { requestContext } from '../../src/infrastructure/observability/request-context.js';
import { UnitOfWork } from '../../src/infrastructure/persistence/unit-of-work.js';
import { eventually } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';
import { numbers } from '../support/notes.js';

const schema = z.object({ n: z.int() });
class Count extends durableCommand('test.counting.count', schema) {}
class Counted extends durableEvent('test.counting.counted', schema) {}
class Prepared extends durableCommand('test.counting.prepared', schema) {}

/** What the handlers do. */
let fails: (n: number) => boolean;
/** The numbers of each call. */
let calls: { commands: number[][]; events: number[][] };
let causes: Map<number, string | undefined>;

@CommandHandler(Count)
class CountHandler implements DurableCommandBatchHandler<Count> {
  constructor(
    private readonly work: UnitOfWork,
    private readonly events: EventBus,
  ) {}

  async executeMany(commands: readonly Count[], causedBy: CausedBy<Count>): Promise<void> {
    calls.commands.push(commands.map(({ data }) => data.n));
    const values = commands.map(({ data: { n } }) => `(${n})`).join(', ');
    await this.work.sql.run(`INSERT INTO counted VALUES ${values}`);
    for (const command of commands) {
      const { n } = command.data;
      if (fails(n)) throw new Error(`not ${n}`);
      causedBy(command, () => {
        causes.set(n, requestContext()?.causationId);
        this.events.publish(new Counted(command.subject, { n }));
      });
    }
  }
}

@EventsHandler(Counted)
class CountedHandler implements DurableEventBatchHandler<Counted> {
  async handleMany(events: readonly Counted[]): Promise<void> {
    calls.events.push(events.map(({ data }) => data.n));
  }
}

@MeshFeature({ name: 'counting', contract: { Count, Counted } })
@Module({ providers: [CountHandler, CountedHandler] })
class CountingModule {}

@CommandHandler(Prepared)
class PreparedHandler implements DurableCommandBatchHandler<Prepared, number> {
  async prepare({ data: { n } }: Prepared): Promise<number> {
    return n * 10;
  }

  async executeMany(commands: readonly Prepared[], _: unknown, prepared: readonly number[]): Promise<void> {
    expect(prepared).toEqual(commands.map(({ data: { n } }) => n * 10));
    calls.commands.push(prepared.map((it) => it / 10));
  }
}

@MeshFeature({ name: 'counting', contract: { Prepared } })
@Module({ providers: [PreparedHandler] })
class PreparedModule {}

describe.each(DATABASES)('Handlers of several messages on $kind', ({ fresh }) => {
  let app: TestingModule | undefined;

  const start = async (module: new () => object = CountingModule) => {
    const options = {
      application: 'test',
      modules: [module],
      database: await fresh(),
      migrate: true,
      http: 'administration',
      delivery: { retry: 2, backoffDelayMs: 10 },
    } as const;
    app = await Test.createTestingModule({ imports: [MeshModule.forRoot(options), module] }).compile();
    await app.init();
  };
  beforeEach(() => {
    calls = { commands: [], events: [] };
    causes = new Map();
    fails = () => false;
  });
  afterEach(async () => {
    await app?.close();
    app = undefined;
  });

  const sql = () => app!.get(UnitOfWork).sql;
  const counted = () => sql().all<{ n: number }>('SELECT n FROM counted ORDER BY n');
  const inbox = () => sql().all<{ id: string }>('SELECT id FROM mesh_inbox');
  /** Sends so many commands with one commit, while nothing is delivered, so that they are there together. */
  const send = async (count: number) => {
    await app!.get(UnitOfWork).run(async () => {
      await sql().run('CREATE TABLE IF NOT EXISTS counted (n integer PRIMARY KEY)');
      for (const n of numbers(count)) await app!.get(CommandBus).execute(new Count(crypto.randomUUID(), { n }));
    });
  };

  it('get several at once, each recorded by itself', async () => {
    await start();
    await send(60);
    await eventually(inbox, ({ length }) => length === 120);
    expect((await counted()).map(({ n }) => n)).toEqual(numbers(60));
    for (const batches of [calls.commands, calls.events]) {
      expect(batches.flat().sort((a, b) => a - b)).toEqual(numbers(60));
      expect(Math.max(...batches.map(({ length }) => length))).toBeGreaterThan(1);
    }
  });

  it('name the message that causes another', async () => {
    await start();
    await send(20);
    await eventually(inbox, ({ length }) => length === 40);
    const ids = new Set((await inbox()).map(({ id }) => id));
    expect(causes.size).toBe(20);
    expect(new Set(causes.values()).size).toBe(20);
    expect([...causes.values()].every((id) => id !== undefined && ids.has(id))).toBe(true);
  });

  it('handle the others although one of a batch fails, which ends as a dead letter', async () => {
    await start();
    fails = (n) => n === 7;
    await send(30);
    await eventually(() => app!.get(DeadLetters).count({}), (count) => count === 1); // prettier-ignore
    await eventually(counted, ({ length }) => length === 29);
    expect((await counted()).map(({ n }) => n)).toEqual(numbers(30).filter((n) => n !== 7));
    // Nothing of an attempt that failed was sent.
    await eventually(inbox, ({ length }) => length === 29 + 29);
    expect(calls.events.flat().sort((a, b) => a - b)).toEqual(numbers(30).filter((n) => n !== 7));
    expect(calls.commands.filter((batch) => batch.includes(7)).every((batch) => batch.length === 1)).toBe(false);
    expect(calls.commands.filter((batch) => batch.includes(7)).at(-1)).toEqual([7]);
  });

  it('leave out what was handled before', async () => {
    await start();
    await send(0);
    const event = (n: number) => ({
      specversion: '1.0',
      id: String(n),
      source: 'usvc://test/counting',
      type: Count.type,
      subject: String(n),
      data: { n },
    });
    const receive = (n: number) => app!.get(InboxReceiver).receive('counting', event(n));
    expect(await receive(1)).toBe('handled');
    const outcomes = await Promise.all([receive(1), receive(2), receive(2), receive(3)]);
    expect(outcomes).toEqual(['duplicate', 'handled', 'duplicate', 'handled']);
    expect(calls.commands.flat()).toEqual([1, 2, 3]);
  });

  it('get what prepare() returned for each message', async () => {
    await start(PreparedModule);
    await app!.get(UnitOfWork).run(async () => {
      for (const n of numbers(20)) await app!.get(CommandBus).execute(new Prepared(crypto.randomUUID(), { n }));
    });
    await eventually(inbox, ({ length }) => length === 20);
    expect(calls.commands.flat().sort((a, b) => a - b)).toEqual(numbers(20));
    expect(Math.max(...calls.commands.map(({ length }) => length))).toBeGreaterThan(1);
  });
});
