import { existsSync } from 'node:fs';
import { Module } from '@nestjs/common';
import { CommandHandler, EventsHandler } from '@nestjs/cqrs';
import { Test, type TestingModule } from '@nestjs/testing';
import { z } from 'zod';
import type { DurableCommandBatchHandler } from '../../src/infrastructure/contracts/batch-handler.js';
import { MeshFeature } from '../../src/infrastructure/contracts/mesh-feature.js';
import {
  durableCommand,
  durableEvent,
  Reject,
  type DurableCommandHandler,
  type DurableEventHandler,
  type EffectHandler,
} from '../../src/infrastructure/contracts/message.js';
import { InboxReceiver } from '../../src/infrastructure/delivery/inbox-receiver.js';
import { MeshModule } from '../../src/infrastructure/mesh.module.js';
import { UnitOfWork } from '../../src/infrastructure/persistence/unit-of-work.js';
import { temporaryDatabase, TestMesh } from '../../src/infrastructure/test-mesh.js';
import { DATABASES } from '../support/databases.js';

/* The entry ./testing of the package, as the tests of a host use it. */

class Ordered extends durableEvent('testing.shop.ordered', z.object({ item: z.string() })) {}
class Pack extends durableCommand('testing.stock.pack', z.object({ item: z.string() }), { sentBy: ['shop'] }) {}
class Weigh extends durableCommand('testing.stock.weigh', z.object({ item: z.string() }), { sentBy: ['shop'] }) {}

@EventsHandler(Ordered)
class PackOnOrdered implements DurableEventHandler<Ordered> {
  constructor(private readonly work: UnitOfWork) {}
  async handle({ subject, data: { item } }: Ordered) {
    this.work.unit.assertOpen();
    if (item === 'coal') throw new Reject('We sell no coal');
    packings.push(subject);
  }
}
@CommandHandler(Pack)
class PackHandler implements DurableCommandHandler<Pack> {
  async execute() {}
}
@CommandHandler(Weigh)
class WeighHandler implements DurableCommandBatchHandler<Weigh> {
  async executeMany(commands: readonly Weigh[]) {
    weighings.push(commands.length);
  }
}
@EventsHandler(Ordered)
class MailOnOrdered implements EffectHandler<Ordered> {
  async perform({ subject }: Ordered) {
    await mailing;
    mails.push(subject);
  }
}

let packings: string[] = [];
let mails: string[] = [];
/** How many commands each call got. */
let weighings: number[] = [];
let mailing = Promise.resolve();

describe.each([...DATABASES, { kind: 'a temporary database', fresh: undefined }])('TestMesh on $kind', ({ fresh }) => {
  let temporary: ReturnType<typeof temporaryDatabase> | undefined;
  let app: TestingModule;
  let mesh: TestMesh;

  beforeEach(async () => {
    [packings, mails, weighings] = [[], [], []];
    @MeshFeature({ name: 'shop', contract: { Ordered } })
    @Module({ providers: [PackOnOrdered] })
    class ShopModule {}
    @MeshFeature({ name: 'stock', contract: { Pack, Weigh } })
    @Module({ providers: [PackHandler, WeighHandler, MailOnOrdered] })
    class StockModule {}
    const modules = [ShopModule, StockModule];
    temporary = fresh ? undefined : temporaryDatabase();
    const database = fresh ? await fresh() : temporary!.url;
    const options = { application: 'testing', modules, database, migrate: true };
    app = await Test.createTestingModule({ imports: [MeshModule.forRoot(options), ...modules] }).compile();
    await app.init();
    mesh = TestMesh.of(app);
  });
  afterEach(async () => {
    await app.close();
    temporary?.remove();
    expect(temporary && existsSync(temporary.path)).toBeFalsy();
  });

  it('publishes, waits, and tells what was handled, by whom', async () => {
    await mesh.publish(new Ordered('1', { item: 'tea' }), new Pack('1', { item: 'tea' }));
    await mesh.settled();
    expect(mesh.handled(Ordered).map(({ subject, data }) => [subject, data.item])).toEqual([
      ['1', 'tea'],
      ['1', 'tea'],
    ]);
    expect(mesh.handled(Ordered, { module: 'shop' })).toEqual([new Ordered('1', { item: 'tea' })]);
    expect(mesh.handled(Pack)).toHaveLength(1);
    expect(mails).toEqual(['1']);
  });

  it('lets handlers fail some times, without waiting for the retries', async () => {
    mesh.fail(Ordered, { times: 9, module: 'shop' });
    mesh.fail(Ordered, { times: 2, module: 'stock' });
    const began = performance.now();
    await mesh.publish(new Ordered('1', { item: 'tea' }));
    await mesh.settled();
    // The policy waits for 102 s before the tenth attempt.
    expect(performance.now() - began).toBeLessThan(5000);
    expect(packings).toHaveLength(10);
    expect(mails).toEqual(['1']);
    expect(mesh.handled(Ordered, { module: 'shop' })).toHaveLength(1);
    expect(await mesh.deadLetters()).toEqual([]);
  });

  it('lets handlers fail for good, until they recover', async () => {
    mesh.fail(Pack, { error: new Error('No boxes') });
    await mesh.publish(new Pack('1', { item: 'tea' }), new Ordered('2', { item: 'coal' }));
    await mesh.settled();
    const letters = await mesh.deadLetters();
    expect(letters.map(({ consumer, error }) => `${consumer}: ${error}`).sort()).toEqual([
      'shop: Reject: We sell no coal',
      'stock: Error: No boxes',
    ]);
    mesh.recover();
    await mesh.publish(new Pack('2', { item: 'tea' }));
    await mesh.settled();
    expect(mesh.handled(Pack).map(({ subject }) => subject)).toEqual(['2']);
  });

  it.each([
    { method: 'execute()', message: Pack },
    { method: 'executeMany()', message: Weigh },
  ])('lets $method fail for each message of several that are handled at once', async ({ message }) => {
    const attempts: string[] = [];
    app.get(InboxReceiver).beforeAttempt = async (consumer) => void attempts.push(consumer);
    const subjects = () => mesh.handled(message).map(({ subject }) => subject);
    const publish = (...names: string[]) => mesh.publish(...names.map((it) => new message(it, { item: 'tea' })));
    mesh.fail(message, { times: 2 });
    await publish('1', '2', '3');
    await mesh.settled();
    expect(attempts).toHaveLength(3 + 2);
    expect(subjects().sort()).toEqual(['1', '2', '3']);
    mesh.fail(message);
    await publish('4', '5', '6');
    await mesh.settled();
    expect(subjects()).toHaveLength(3);
    expect((await mesh.deadLetters()).map(({ error }) => error)).toEqual(
      Array(3).fill('Error: The test lets stock fail'),
    );
    mesh.recover();
    expect(message === Pack || Math.max(...weighings) > 1).toBe(true);
  });

  it('tells of each message that was handled with others', async () => {
    await mesh.publish(...['1', '2', '3'].map((it) => new Weigh(it, { item: 'tea' })));
    await mesh.settled();
    expect(mesh.handled(Weigh).map(({ subject }) => subject).sort()).toEqual(['1', '2', '3']); // prettier-ignore
    expect(Math.max(...weighings)).toBeGreaterThan(1);
  });

  it('names what has not settled', async () => {
    let release: () => void = () => undefined;
    mailing = new Promise<void>((resolve) => (release = resolve));
    await mesh.publish(new Ordered('1', { item: 'tea' }));
    await expect(mesh.settled({ timeoutMs: 300 })).rejects.toThrow(
      /has not settled:\n- testing\.shop\.ordered for stock\/testing\.shop\.ordered, attempts 1/,
    );
    release();
    await mesh.settled();
  });

  it('lets time pass: dead letters end with their retention', async () => {
    await mesh.publish(new Ordered('1', { item: 'coal' }));
    await mesh.settled();
    expect(await mesh.deadLetters()).toHaveLength(1);
    await mesh.advance(29 * 86_400_000);
    expect(await mesh.deadLetters()).toHaveLength(1);
    await mesh.advance(2 * 86_400_000);
    expect(await mesh.deadLetters()).toEqual([]);
  });
});
