import 'reflect-metadata';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Injectable, Module, Scope, type Provider, type Type } from '@nestjs/common';
import {
  Command,
  CommandBus,
  CommandHandler,
  EventBus,
  EventsHandler,
  QueryBus,
  QueryHandler,
  Saga,
} from '@nestjs/cqrs';
import { Test, type TestingModule } from '@nestjs/testing';
import type { Observable } from 'rxjs';
import { DataSource } from 'typeorm';
import { z } from 'zod';
import { durableCommand, durableEvent, query, type CommandClass } from '../../src/infrastructure/contracts/message.js';
import { PROCESS_BUSES } from '../../src/infrastructure/contracts/module-buses.js';
import { MeshFeature } from '../../src/infrastructure/contracts/mesh-feature.js';
import { MESH_ROUTES, type MeshRoute } from '../../src/infrastructure/http/mesh-route.js';
import { DELIVERY_POLICY } from '../../src/infrastructure/delivery/inbox-receiver.js';
import { ModuleReconciler } from '../../src/infrastructure/maintenance/reconciler.js';
import { Reconciliation } from '../../src/infrastructure/maintenance/reconciliation.js';
import { MeshModule } from '../../src/infrastructure/mesh.module.js';
import type { MeshOptions } from '../../src/infrastructure/mesh-options.js';
import { Outbox } from '../../src/infrastructure/outbox/outbox.js';
import { dataSourceOptions } from '../../src/infrastructure/persistence/data-source-options.js';
import { UnitOfWork } from '../../src/infrastructure/persistence/unit-of-work.js';
import { assertHistoriesComplete } from '../../src/infrastructure/store/migration-histories.js';

class Bake extends durableCommand('planted.bakery.bake', z.object({ loaves: z.int() })) {}
class Baked extends durableEvent('planted.bakery.baked', z.object({ loaves: z.int() })) {}
class CountLoaves extends query('count-loaves', z.object({}), z.int()) {}
const contract = { Bake, Baked, CountLoaves };

class Sweep extends Command<void> {}
class Fleeting {}

@CommandHandler(Bake)
class BakeHandler {
  async execute() {}
}
@CommandHandler(Bake)
class SecondBakeHandler {
  async execute() {}
}
@EventsHandler(Baked)
class SellOnBaked {
  async handle() {}
}
@EventsHandler(Baked)
class CoolOnBaked {
  async handle() {}
}
@QueryHandler(CountLoaves)
class CountLoavesHandler {
  async execute() {
    return 0;
  }
}
@QueryHandler(CountLoaves)
class SecondCountLoavesHandler {
  async execute() {
    return 1;
  }
}
@CommandHandler(Sweep)
class SweepHandler {
  async execute() {}
}
@CommandHandler(Sweep)
class SecondSweepHandler {
  async execute() {}
}

/** The handlers of everything in the contract of the bakery. */
const complete = [BakeHandler, SellOnBaked, CountLoavesHandler, SweepHandler];

describe('An application does not start', () => {
  const refusals: [name: string, modules: () => Type[], says: RegExp][] = [
    [
      'with two handlers of one command',
      () => [bakery([...complete, SecondBakeHandler])],
      /planted\.bakery\.bake is handled twice in bakery: by BakeHandler and by SecondBakeHandler/,
    ],
    [
      'with a command without a handler',
      () => [bakery(complete.filter((it) => it !== BakeHandler))],
      /bakery doesn't handle planted\.bakery\.bake/,
    ],
    [
      'with a query without a handler',
      () => [bakery(complete.filter((it) => it !== CountLoavesHandler))],
      /bakery doesn't answer CountLoaves/,
    ],
    [
      'with two handlers of one query',
      () => [bakery([...complete, SecondCountLoavesHandler])],
      /CountLoaves is answered twice: by CountLoavesHandler and by SecondCountLoavesHandler/,
    ],
    [
      'with a query that another module answers',
      () => [bakery([BakeHandler]), moduleOf('shop', {}, [CountLoavesHandler])],
      /CountLoavesHandler answers CountLoaves, which isn't in the contract of its own module/,
    ],
    [
      'with two handlers of one event in a module',
      () => [bakery([...complete, CoolOnBaked])],
      /planted\.bakery\.baked is handled twice in bakery: by SellOnBaked and by CoolOnBaked/,
    ],
    [
      'with one type for two messages',
      () => {
        class Rebake extends durableCommand('planted.bakery.bake', z.object({})) {}
        return [bakery(complete), moduleOf('shop', { Rebake }, [])];
      },
      /planted\.bakery\.bake is declared twice: by Bake and by Rebake/,
    ],
    [
      'with a durable handler outside a module with @MeshFeature',
      () => {
        @Module({ providers: [CoolOnBaked] })
        class Loose {}
        return [bakery(complete), Loose];
      },
      /CoolOnBaked handles planted\.bakery\.baked outside a module with @MeshFeature/,
    ],
    [
      'with a handler of a message that stands in no contract',
      () => [moduleOf('shop', {}, [CoolOnBaked])],
      /CoolOnBaked handles Baked, which stands in no contract/,
    ],
    [
      'with a command that another module handles',
      () => [bakery([SellOnBaked, CountLoavesHandler]), moduleOf('shop', {}, [BakeHandler])],
      /BakeHandler of shop handles planted\.bakery\.bake, a command to bakery/,
    ],
    [
      'with a listener to an event that is not durable',
      () => {
        @EventsHandler(Fleeting)
        class WatchFleeting {
          async handle() {}
        }
        return [bakery([...complete, WatchFleeting])];
      },
      /WatchFleeting listens to Fleeting, which isn't durable/,
    ],
    [
      'with a saga',
      () => {
        @Injectable()
        class BakingDay {
          @Saga()
          bake = (events: Observable<unknown>) => events as Observable<Command<void>>;
        }
        return [bakery([...complete, BakingDay])];
      },
      /BakingDay is a saga/,
    ],
    [
      'with two handlers of one command that is not durable',
      () => [bakery([...complete, SecondSweepHandler])],
      /Sweep is handled twice: by SweepHandler and by SecondSweepHandler/,
    ],
    [
      'with two handlers of one command that is not durable in two modules',
      () => [bakery(complete), moduleOf('shop', {}, [SecondSweepHandler])],
      /Sweep is handled twice: by SweepHandler and by SecondSweepHandler/,
    ],
    [
      'with a request-scoped handler of a durable event',
      () => {
        @EventsHandler(Baked)
        @Injectable({ scope: Scope.REQUEST })
        class PerRequest {
          async handle() {}
        }
        return [bakery(complete), moduleOf('shop', {}, [PerRequest])];
      },
      /PerRequest is request-scoped/,
    ],
    [
      'with a handler of a durable command that depends on something request-scoped',
      () => {
        @Injectable({ scope: Scope.REQUEST })
        class Basket {}
        @CommandHandler(Bake)
        class FromBasket {
          constructor(readonly basket: Basket) {}
          async execute() {}
        }
        return [bakery([SellOnBaked, CountLoavesHandler, Basket, FromBasket])];
      },
      /FromBasket is request-scoped/,
    ],
    [
      'with a handler that lacks its method',
      () => {
        @EventsHandler(Baked)
        class Forgot {}
        return [bakery(complete), moduleOf('shop', {}, [Forgot as never])];
      },
      /Forgot handles planted\.bakery\.baked without handle\(\)/,
    ],
    [
      'with a sender that is no module',
      () => {
        class Knead extends durableCommand('planted.bakery.knead', z.object({}), {
          sentBy: ['shoop', 'https://a.shop'],
        }) {}
        return [moduleOf('shop', { Knead }, [handlerOf(Knead)])];
      },
      /the contract of shop lets shoop use Knead, but there is no such module$/,
    ],
    [
      'with a source where only a module can ask',
      () => {
        class Ask extends query('ask', z.object({}), z.int(), { askedBy: ['https://a.shop'] }) {}
        return [moduleOf('shop', { Ask }, [])];
      },
      /the contract of shop lets https:\/\/a\.shop use Ask, but there is no such module/,
    ],
    [
      'with @Module above @MeshFeature, which takes the buses of the module away',
      () => {
        @Module({ providers: complete })
        @MeshFeature({ name: 'bakery', contract })
        class Bakery {}
        return [Bakery];
      },
      /Bakery has no buses of its own: put @MeshFeature above @Module/,
    ],
    [
      'with one name for two modules',
      () => [bakery(complete), moduleOf('bakery', {}, [])],
      /two modules are called bakery/,
    ],
  ];

  it.each(refusals)('%s', async (_, modules, says) => {
    await expect(start(modules())).rejects.toThrow(says);
  });

  it.each([
    ['with a history of no module', ['cellar'], /a history of cellar, but the modules are bakery$/],
    ['with two histories of one module', ['bakery', 'bakery'], /two histories of bakery: make them one$/],
  ])('%s', async (_, owners, says) => {
    const migrations = owners.map((owner) => ({ owner, migrations: [] }));
    const modules = [bakery(complete)];
    const mesh = MeshModule.forRoot({ application: 'planted', modules, database: 'sqlite:unused.db', migrations });
    await expect(Test.createTestingModule({ imports: [mesh, ...modules] }).compile()).rejects.toThrow(says);
  });

  it('with tokens for REST, where the application keeps its own answers', async () => {
    const modules = [bakery(complete)];
    const restTokens = { issuer: 'https://issuer.example', audience: 'planted' };
    const options = { application: 'planted', modules, database: newDatabase(), migrate: true, restTokens };
    const mesh = MeshModule.forRoot({ ...options, http: 'administration' });
    await expect(Test.createTestingModule({ imports: [mesh, ...modules] }).compile()).rejects.toThrow(
      /^restTokens needs http: 'whole'/,
    );
  });

  it.each<[string, Partial<MeshOptions>, RegExp]>([
    [
      'with more retries than the inbox remembers',
      { delivery: { retry: 30 } },
      /^The option retention\.inboxMs: the inbox forgets after 14\.00 days, .*: lengthen it, or reduce delivery\.retry or retention\.replayWindowMs$/,
    ],
    [
      'with messages of unknown types that wait longer than the inbox remembers',
      { delivery: { unknownTypeGraceMs: 15 * 86_400_000 } },
      /^The option retention\.inboxMs: .*: lengthen it, or shorten delivery\.unknownTypeGraceMs$/,
    ],
    [
      'with a short token',
      { administration: { isDevelopment: true, token: 'short' } },
      /^The option administration\.token needs at least 16 /,
    ],
    [
      'with a short token for reading',
      { administration: { isDevelopment: true, readToken: 'short' } },
      /^The option administration\.readToken needs at least 16 /,
    ],
    [
      'with one token for both roles',
      { administration: { isDevelopment: true, token: 'a'.repeat(16), readToken: 'a'.repeat(16) } },
      /^The option administration\.readToken must differ from administration\.token$/,
    ],
    [
      'with tokens of an issuer that is no URL',
      { broker: { tokens: { issuer: 'nowhere', audience: 'planted', senders: [] } } },
      /^The option broker\.tokens: Invalid URL$/,
    ],
    [
      'with tokens of REST without an audience',
      { restTokens: { issuer: 'https://issuer.example', audience: '' } },
      /^The option restTokens: Tokens need an issuer and an audience$/,
    ],
  ])('%s', async (_, wrong, says) => {
    const modules = [bakery(complete)];
    const options = { application: 'planted', modules, database: newDatabase(), migrate: true, ...wrong };
    const mesh = MeshModule.forRoot(options);
    await expect(Test.createTestingModule({ imports: [mesh, ...modules] }).compile()).rejects.toThrow(says);
  });

  it('with entities that no migration creates, where the application asks for it', () => {
    class Loaf {}
    @Module({})
    @MeshFeature({ name: 'bakery', contract: {}, entities: [Loaf] })
    class Bakery {}
    expect(() => assertHistoriesComplete([Bakery], [])).toThrow(/^The module bakery has entities but no migrations/);
    expect(() => assertHistoriesComplete([Bakery], [{ owner: 'bakery', migrations: [] }])).not.toThrow();
  });

  it('and names all problems in one error', async () => {
    const message = await start([bakery([BakeHandler, SecondBakeHandler])]).catch((error: Error) => error.message);
    expect(message).toMatch(/handled twice[^]*doesn't answer CountLoaves/);
  });
});

describe('The reconcile loop', () => {
  const page = async () => ({ examined: 3, discrepancies: [] });

  @ModuleReconciler()
  class ReconcileLoaves {
    page = page;
  }
  @ModuleReconciler()
  class ReconcileOvens {
    page = page;
  }

  it('finds the reconciler of a module by its decorator', async () => {
    const runs = await start([bakery([...complete, ReconcileLoaves])], (app) =>
      app.get(Reconciliation).run({ isDryRun: true }),
    );
    expect(runs).toMatchObject([{ module: 'bakery', isDryRun: true, examined: 3, missing: {}, sent: 0 }]);
  });

  it('refuses a second reconciler in a module, and one outside a module with @MeshFeature', async () => {
    const two = [bakery([...complete, ReconcileLoaves, ReconcileOvens])];
    await expect(start(two)).rejects.toThrow('bakery has two reconcilers: make them one');
    @Module({ providers: [ReconcileLoaves] })
    class Loose {}
    await expect(start([bakery(complete), Loose])).rejects.toThrow(
      'ReconcileLoaves is a reconciler outside a module with @MeshFeature',
    );
  });
});

describe('The buses that Nest injects into a module', () => {
  @Injectable()
  class Counter {
    constructor(
      readonly commands: CommandBus,
      readonly events: EventBus,
      readonly queries: QueryBus,
    ) {}
  }
  const inEach = <Result>(use: (own: Counter, foreign: Counter, app: TestingModule) => Promise<Result>) => {
    const [own, foreign] = [bakery([...complete, Counter]), moduleOf('shop', {}, [Counter])];
    return start([own, foreign], (app) =>
      use(...([own, foreign].map((it) => app.select(it).get(Counter, { strict: true })) as [Counter, Counter]), app),
    );
  };

  it('send and ask what the contracts let the module send and ask', async () => {
    await inEach(async (own, foreign, app) => {
      await own.commands.execute(new Bake('today', { loaves: 1 }));
      await expect(foreign.commands.execute(new Bake('today', { loaves: 1 }))).rejects.toThrow(
        'shop may not send planted.bakery.bake of bakery, only bakery: add shop to its sentBy',
      );
      const work = app.get(UnitOfWork);
      await work.run(async () => own.events.publish(new Baked('today', { loaves: 1 })));
      await expect(work.run(async () => foreign.events.publish(new Baked('today', { loaves: 1 })))).rejects.toThrow(
        'shop may not send planted.bakery.baked',
      );
      expect(await own.queries.execute(new CountLoaves({}))).toBe(0);
      await expect(foreign.queries.execute(new CountLoaves({}))).rejects.toThrow(
        'shop may not ask the query count-loaves of bakery, only bakery: add shop to its askedBy',
      );
    });
  });

  it('are not what app.get() finds: that is the bus of the process, whose sender is the module of the contract', async () => {
    await inEach(async (own, foreign, app) => {
      for (const bus of [CommandBus, EventBus as Type, QueryBus as Type]) {
        expect(app.get(bus)).toBe(app.get(PROCESS_BUSES.get(bus)!));
      }
      expect(own.commands).not.toBe(foreign.commands);
      await app.get(CommandBus).execute(new Bake('today', { loaves: 1 }));
    });
  });

  it('share the handlers of commands that are not durable', async () => {
    await inEach(async (own, foreign) => {
      await expect(own.commands.execute(new Sweep())).resolves.toBeUndefined();
      await expect(foreign.commands.execute(new Sweep())).resolves.toBeUndefined();
    });
  });
});

it('an application whose modules fit together starts', async () => {
  await expect(start([bakery(complete), moduleOf('shop', {}, [CoolOnBaked])])).resolves.toBeUndefined();
});

it('MeshModule.forRootAsync() starts with the options of its factory', async () => {
  const SETTINGS = Symbol('SETTINGS');
  @Module({ providers: [{ provide: SETTINGS, useValue: { name: 'bakeries', retry: 7 } }], exports: [SETTINGS] })
  class Settings {}
  const modules = [bakery(complete)];
  const database = newDatabase();
  const mesh = MeshModule.forRootAsync({
    imports: [Settings],
    inject: [SETTINGS],
    useFactory: async ({ name, retry }: { name: string; retry: number }) => ({
      application: name,
      modules,
      database,
      migrate: true,
      delivery: { retry },
    }),
    http: 'administration',
  });
  const app = await Test.createTestingModule({ imports: [mesh, ...modules] }).compile();
  await app.init();
  try {
    const dataSource = await new DataSource(dataSourceOptions(database)).initialize();
    const [row] = await dataSource.transaction(async (manager) => {
      await app.get(Outbox).add(manager, new Baked('today', { loaves: 3 }));
      return manager.query<{ event: string }[]>('SELECT event FROM mesh_outbox');
    });
    await dataSource.destroy();
    expect(JSON.parse(row!.event)).toMatchObject({ source: 'usvc://bakeries/bakery', data: { loaves: 3 } });
    expect(app.get(DELIVERY_POLICY)).toMatchObject({ retry: 7 });
    const shown = app.get<readonly MeshRoute[]>(MESH_ROUTES).map(({ path }) => path);
    expect(shown).toContain('/mesh/outbox');
    expect(shown).not.toContain('/health/ready');
  } finally {
    await app.close();
  }
});

function bakery(providers: Provider[]): Type {
  return moduleOf('bakery', contract, providers);
}

function handlerOf(command: CommandClass): Type {
  @CommandHandler(command)
  class Handler {
    async execute() {}
  }
  return Handler;
}

function moduleOf(name: string, itsContract: object, providers: Provider[]): Type {
  @MeshFeature({ name, contract: itsContract })
  @Module({ providers })
  class Planted {}
  return Planted;
}

function newDatabase(): string {
  return `sqlite:${join(mkdtempSync(join(tmpdir(), 'cabs-start-')), 'planted.db')}`;
}

async function start<Result = void>(
  modules: Type[],
  then: (app: TestingModule) => Promise<Result> | undefined = () => undefined,
): Promise<Result | undefined> {
  const onMesh = modules.filter((it) => it.name !== 'Loose');
  const options = { application: 'planted', modules: onMesh, database: newDatabase(), migrate: true };
  const mesh = MeshModule.forRoot(options);
  const testing = await Test.createTestingModule({ imports: [mesh, ...modules] })
    .setLogger(false as never)
    .compile();
  try {
    await testing.init();
    return await then(testing);
  } finally {
    await testing.close();
  }
}
