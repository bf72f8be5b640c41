import { Module } from '@nestjs/common';
import { CommandHandler, EventsHandler } from '@nestjs/cqrs';
import { Test, type TestingModule } from '@nestjs/testing';
import { z } from 'zod';
import type {
  DurableCommandBatchHandler,
  DurableEventBatchHandler,
} from '../../src/infrastructure/contracts/batch-handler.js';
import { MeshFeature } from '../../src/infrastructure/contracts/mesh-feature.js';
import {
  durableCommand,
  durableEvent,
  type DurableCommandHandler,
} from '../../src/infrastructure/contracts/message.js';
import { InboxReceiver } from '../../src/infrastructure/delivery/inbox-receiver.js';
import { MeshModule } from '../../src/infrastructure/mesh.module.js';
import { UnitOfWork } from '../../src/infrastructure/persistence/unit-of-work.js';
import { DATABASES } from '../support/databases.js';

const schema = z.object({ items: z.array(z.string()) });
class Pack extends durableCommand('test.packing.pack', schema) {}
class Wrap extends durableCommand('test.packing.wrap', schema) {}
class Packed extends durableEvent('test.packing.packed', schema) {}

type Seen = Pack | Wrap;
/** What the handlers saw; at the end only what was committed. */
let seen: { subject: string; items: string; prepared?: unknown }[];
let prepared: object[];
/** Runs after the handlers changed their messages. */
let meet: (messages: readonly Seen[], work: UnitOfWork) => Promise<void>;
/** The subjects of each list, by the unit that it was handled in. */
let lists: Map<unknown, string[][]>;

/** Changes its messages, as a handler may do. */
async function change(messages: readonly Seen[], work: UnitOfWork, values: readonly unknown[]): Promise<void> {
  const found = messages.map(({ subject, data: { items } }, index) => {
    items.push('box');
    return { subject, items: items.join(), prepared: values[index] };
  });
  work.unit.afterCommit(() => seen.push(...found));
  await meet(messages, work);
}

@CommandHandler(Pack)
class PackHandler implements DurableCommandBatchHandler<Pack, object> {
  constructor(private readonly work: UnitOfWork) {}
  async prepare({ subject, data: { items } }: Pack): Promise<object> {
    items.push('of prepare()');
    const result = { subject };
    prepared.push(result);
    return result;
  }
  executeMany(commands: readonly Pack[], _: unknown, values: readonly object[]): Promise<void> {
    return change(commands, this.work, values);
  }
}
@CommandHandler(Wrap)
class WrapHandler implements DurableCommandHandler<Wrap> {
  constructor(private readonly work: UnitOfWork) {}
  execute(command: Wrap): Promise<void> {
    return change([command], this.work, []);
  }
}
@EventsHandler(Packed)
class PackedHandler implements DurableEventBatchHandler<Packed> {
  constructor(private readonly work: UnitOfWork) {}
  async handleMany(events: readonly Packed[]): Promise<void> {
    const { unit } = this.work;
    lists.set(unit, [...(lists.get(unit) ?? []), events.map(({ subject, data: { items } }) => subject + items[0]!)]);
  }
}

@MeshFeature({ name: 'packing', contract: { Pack, Wrap, Packed } })
@Module({ providers: [PackHandler, WrapHandler, PackedHandler] })
class PackingModule {}

describe.each(DATABASES)('Messages that share a unit of work on $kind', ({ kind, fresh }) => {
  let app: TestingModule;
  let ids = 0;

  beforeEach(async () => {
    [seen, prepared, lists, meet] = [[], [], new Map(), async () => undefined];
    const options = { application: 'test', modules: [PackingModule], database: await fresh(), migrate: true };
    app = await Test.createTestingModule({ imports: [MeshModule.forRoot(options), PackingModule] }).compile();
    await app.init();
  });
  afterEach(() => app.close());

  /** As a broker delivers it. */
  const receive = ({ type }: { readonly type: string }, subject: string, item: string, partitionkey?: string) =>
    app.get(InboxReceiver).receive('packing', {
      specversion: '1.0',
      id: `event-${ids++}`,
      source: 'usvc://test/packing',
      type,
      subject,
      ...(partitionkey && { partitionkey }),
      data: { items: [item] },
    });
  const bySubject = (a: { subject: string }, b: { subject: string }) => (a.subject < b.subject ? -1 : 1);

  it.each([
    { method: 'executeMany()', message: Pack },
    { method: 'execute()', message: Wrap },
  ])('are as they were sent when $method is repeated', async ({ message }) => {
    const sizes: number[] = [];
    let failures = 1;
    meet = async (messages) => {
      sizes.push(messages.length);
      if (failures-- > 0) throw new Error('not at once');
    };
    const outcomes = await Promise.all(['a', 'b', 'c'].map((it) => receive(message, it, 'tea')));
    expect(outcomes).toEqual(['handled', 'handled', 'handled']);
    expect(sizes).toEqual([message === Pack ? 3 : 1, 1, 1, 1]);
    expect(seen.sort(bySubject).map(({ subject, items }) => [subject, items])).toEqual([
      ['a', 'tea,box'],
      ['b', 'tea,box'],
      ['c', 'tea,box'],
    ]);
    // prepare() isn't repeated with the unit.
    expect(prepared).toHaveLength(message === Pack ? 3 : 0);
    if (message === Pack) expect(seen.every((it) => prepared.includes(it.prepared as object))).toBe(true);
  });

  // SQLite has one writer, so it has no deadlocks.
  (kind === 'postgres' ? it : it.skip)('are as they were sent after a deadlock', async () => {
    let runs = 0;
    meet = async (_, work) => {
      if (++runs < 3) await work.sql.run(`DO $$ BEGIN RAISE EXCEPTION 'met' USING ERRCODE = '40P01'; END $$`);
    };
    expect(await receive(Wrap, 'a', 'tea')).toBe('handled');
    expect([runs, seen.map(({ items }) => items)]).toEqual([3, ['tea,box']]);
  });

  it('come in lists of different subjects, one list after the other in one unit', async () => {
    await Promise.all(['a1', 'a2', 'b1', 'a3'].map(([subject, item]) => receive(Packed, subject!, item!)));
    expect([...lists.values()]).toEqual([[['a1', 'b1'], ['a2'], ['a3']]]);
  });

  it('come in lists of different partition keys, also where these are not the subjects', async () => {
    const sent = [
      ['a1', 'x'],
      ['b1', 'x'],
      ['c1', 'y'],
      ['a2', 'z'],
    ] as const;
    await Promise.all(sent.map(([[subject, item], key]) => receive(Packed, subject!, item!, key)));
    expect([...lists.values()]).toEqual([
      [
        ['a1', 'c1'],
        ['b1', 'a2'],
      ],
    ]);
  });
});
