import { Injectable, Module, type DynamicModule } from '@nestjs/common';
import {
  Command,
  CommandBus,
  CommandHandler,
  CqrsModule,
  EventBus,
  EventsHandler,
  ofType,
  Query,
  QueryBus,
  QueryHandler,
  Saga,
  type IEvent,
} from '@nestjs/cqrs';
import { Test, type TestingModule } from '@nestjs/testing';
import { map, type Observable } from 'rxjs';
import { z } from 'zod';
import { MeshFeature } from '../../src/infrastructure/contracts/mesh-feature.js';
import { durableCommand, durableEvent } from '../../src/infrastructure/contracts/message.js';
import { MeshModule } from '../../src/infrastructure/mesh.module.js';
import { UnitOfWork } from '../../src/infrastructure/persistence/unit-of-work.js';
import { eventually } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';

/* An application that used CqrsModule before the mesh, with a saga and with events and queries that no contract knows. */

const seen: string[] = [];

class Greet extends Command<string> {
  constructor(readonly name: string) {
    super();
  }
}
class Greeted {
  constructor(readonly name: string) {}
}
class CountGreetings extends Query<number> {}

@CommandHandler(Greet)
class GreetHandler {
  async execute({ name }: Greet) {
    seen.push(`greet ${name}`);
    return `hello ${name}`;
  }
}
@EventsHandler(Greeted)
class GreetedHandler {
  handle({ name }: Greeted) {
    seen.push(`greeted ${name}`);
  }
}
@QueryHandler(CountGreetings)
class CountGreetingsHandler {
  async execute() {
    return seen.filter((it) => it.startsWith('greet ')).length;
  }
}
@Injectable()
class GreetBack {
  @Saga()
  back = (events: Observable<IEvent>) =>
    events.pipe(
      ofType(Greeted),
      map(({ name }) => new Greet(`back to ${name}`)),
    );
}

class Ordered extends durableEvent('hosts.shop.ordered', z.object({ item: z.string() })) {}
class Pack extends durableCommand('hosts.shop.pack', z.object({ item: z.string() })) {}

@EventsHandler(Ordered)
class OrderedHandler {
  async handle({ data: { item } }: Ordered) {
    seen.push(`ordered ${item}`);
  }
}
@CommandHandler(Pack)
class PackHandler {
  async execute({ data: { item } }: Pack) {
    seen.push(`pack ${item}`);
  }
}
@Injectable()
class Shop {
  constructor(
    readonly events: EventBus,
    readonly commands: CommandBus,
    readonly queries: QueryBus,
  ) {}
}
@Injectable()
class Reception extends Shop {}

describe.each<[string, typeof CqrsModule | DynamicModule]>([
  ['CqrsModule', CqrsModule],
  ['CqrsModule.forRoot()', CqrsModule.forRoot()],
])('A host that imports %s', (_, cqrs) => {
  let app: TestingModule;
  let work: UnitOfWork;

  beforeAll(async () => {
    @MeshFeature({ name: 'shop', contract: { Ordered, Pack } })
    @Module({ imports: [cqrs], providers: [Shop, OrderedHandler, PackHandler] })
    class ShopModule {}
    @Module({
      imports: [cqrs],
      providers: [Reception, GreetHandler, GreetedHandler, CountGreetingsHandler, GreetBack],
    })
    class ReceptionModule {}
    const database = await DATABASES[0]!.fresh();
    const mesh = MeshModule.forRoot({ application: 'hosts', modules: [ShopModule], database, migrate: true });
    app = await Test.createTestingModule({ imports: [mesh, ShopModule, ReceptionModule] }).compile();
    await app.init();
    work = app.get(UnitOfWork);
  });
  beforeEach(() => seen.splice(0));
  afterAll(() => app.close());

  const seenInOrder = (...expected: string[]) =>
    eventually(
      async () => [...seen].sort(),
      (it) => JSON.stringify(it) === JSON.stringify([...expected].sort()),
      5000,
    );

  describe.each([Shop, Reception])('with the buses of %p', (holder) => {
    it('works as before: commands with results, events, sagas, queries, also inside a unit', async () => {
      const { commands, events, queries } = app.get(holder);
      expect(await commands.execute(new Greet('Ann'))).toBe('hello Ann');
      events.publish(new Greeted('Ann'));
      await seenInOrder('greet Ann', 'greeted Ann', 'greet back to Ann');
      expect(await work.run(() => queries.execute(new CountGreetings()))).toBe(2);
    });

    it('durable messages take the way of the mesh, once', async () => {
      const { commands, events } = app.get(holder);
      await work.run(async () => {
        events.publish(new Ordered('1', { item: 'a' }));
        events.publishAll([new Ordered('2', { item: 'b' })]);
        await commands.execute(new Pack('1', { item: 'a' }));
        expect(seen).toEqual([]);
      });
      await seenInOrder('ordered a', 'ordered b', 'pack a');
    });

    it('a durable event is not sent when its transaction rolls back, nor outside of one', async () => {
      const { events } = app.get(holder);
      const failing = work.run(async () => {
        events.publish(new Ordered('3', { item: 'c' }));
        throw new Error('sold out');
      });
      await expect(failing).rejects.toThrow('sold out');
      expect(() => events.publish(new Ordered('4', { item: 'd' }))).toThrow('No unit of work is open');
      await work.run(async () => events.publish(new Ordered('5', { item: 'e' })));
      await seenInOrder('ordered e');
    });
  });
});
