import { Injectable, Module, type DynamicModule } from '@nestjs/common';
import { EventBus, EventsHandler } from '@nestjs/cqrs';
import { Test, type TestingModule } from '@nestjs/testing';
import { getDataSourceToken, InjectRepository, TypeOrmModule } from '@nestjs/typeorm';
import { ClsPluginTransactional, Transactional, TransactionHost } from '@nestjs-cls/transactional';
import { TransactionalAdapterTypeOrm } from '@nestjs-cls/transactional-adapter-typeorm';
import { ClsModule } from 'nestjs-cls';
import { durableEvent, MeshFeature, MeshModule, Outbox, UnitOfWork, type DurableEventHandler } from 'nestjs-meshy';
import { temporaryDatabase, TestMesh } from 'nestjs-meshy/testing';
import { Column, DataSource, Entity, PrimaryGeneratedColumn, Repository, type DataSourceOptions } from 'typeorm';
import {
  addTransactionalDataSource,
  deleteDataSourceByName,
  initializeTransactionalContext,
  StorageDriver,
  Transactional as TypeOrmTransactional,
} from 'typeorm-transactional';
import { z } from 'zod';

/* Hosts whose transactions come from a decorator: typeorm-transactional, and @nestjs-cls/transactional. */

@Entity()
class Booking {
  @PrimaryGeneratedColumn()
  id: number;
  @Column('text')
  guest: string;
}

class Booked extends durableEvent('decorators.hotel.booked', z.object({ guest: z.string() })) {}

@EventsHandler(Booked)
class GreetOnBooked implements DurableEventHandler<Booked> {
  constructor(@InjectRepository(Booking) private readonly bookings: Repository<Booking>) {}
  async handle({ subject, data: { guest } }: Booked) {
    await this.bookings.update({ id: Number(subject) }, { guest: `Dear ${guest}` });
  }
}

abstract class Bookings {
  abstract book(guest: string, fail?: boolean): Promise<number>;
}

@Injectable()
class BookingsOfTypeOrm implements Bookings {
  constructor(
    @InjectRepository(Booking) private readonly bookings: Repository<Booking>,
    private readonly outbox: Outbox,
    private readonly events: EventBus,
  ) {}

  @TypeOrmTransactional()
  async book(guest: string, fail = false): Promise<number> {
    const { id } = await this.bookings.save({ guest });
    // The manager of each repository is that of the transaction.
    await this.outbox.add(this.bookings.manager, new Booked(String(id), { guest }));
    if (fail) throw new Error('full');
    return id;
  }

  @TypeOrmTransactional()
  async publish(): Promise<void> {
    this.events.publish(new Booked('1', { guest: 'Ann' }));
  }
}

@Injectable()
class BookingsOfCls implements Bookings {
  constructor(
    private readonly transactions: TransactionHost<TransactionalAdapterTypeOrm>,
    private readonly outbox: Outbox,
    private readonly events: EventBus,
  ) {}

  @Transactional()
  async book(guest: string, fail = false): Promise<number> {
    const { id } = await this.transactions.tx.save(Booking, { guest });
    await this.outbox.add(this.transactions.tx, new Booked(String(id), { guest }));
    if (fail) throw new Error('full');
    return id;
  }

  @Transactional()
  async publish(): Promise<void> {
    this.events.publish(new Booked('1', { guest: 'Ann' }));
  }
}

initializeTransactionalContext({ storageDriver: StorageDriver.ASYNC_LOCAL_STORAGE });

const decorators = [
  {
    name: 'typeorm-transactional',
    service: BookingsOfTypeOrm,
    prepare: addTransactionalDataSource as (database: DataSource) => DataSource,
    module: undefined,
  },
  {
    name: '@nestjs-cls/transactional',
    service: BookingsOfCls,
    prepare: (database: DataSource) => database,
    module: (): DynamicModule =>
      ClsModule.forRoot({
        plugins: [
          new ClsPluginTransactional({
            imports: [TypeOrmModule],
            adapter: new TransactionalAdapterTypeOrm({ dataSourceToken: getDataSourceToken() }),
          }),
        ],
      }),
  },
];
/** Empty databases on PostgreSQL, one for each decorator. */
const urls = process.env.POSTGRES_URLS?.split(',');
const cases = decorators.flatMap((it, index) => [
  {
    kind: 'SQLite',
    at: { type: 'better-sqlite3', database: temporaryDatabase().path, enableWAL: true } as DataSourceOptions,
    ...it,
  },
  ...(urls ? [{ kind: 'PostgreSQL', at: { type: 'postgres', url: urls[index] } as DataSourceOptions, ...it }] : []),
]);

describe.each(cases)('@Transactional of $name on $kind', ({ at, service, prepare, module: ofDecorator }) => {
  let app: TestingModule;
  let mesh: TestMesh;

  beforeAll(async () => {
    @MeshFeature({ name: 'hotel', contract: { Booked }, entities: [Booking] })
    @Module({ imports: [TypeOrmModule.forFeature([Booking])], providers: [service, GreetOnBooked] })
    class HotelModule {}
    const typeOrm = TypeOrmModule.forRootAsync({
      useFactory: () => ({ ...at, entities: [Booking], synchronize: true }),
      dataSourceFactory: async (options) => prepare(new DataSource(options!)).initialize(),
    });
    const meshModule = MeshModule.forRootAsync({
      inject: [getDataSourceToken()],
      useFactory: (database: DataSource) => ({
        application: 'decorators',
        modules: [HotelModule],
        database,
        migrate: true,
      }),
    });
    const imports = [typeOrm, ...(ofDecorator ? [ofDecorator()] : []), meshModule, HotelModule];
    app = await Test.createTestingModule({ imports }).compile();
    await app.init();
    mesh = TestMesh.of(app);
  });
  afterAll(async () => {
    await app.close();
    deleteDataSourceByName('default');
  });

  const bookings = () => app.get(service);
  const guests = async () => {
    const found = await app.get(DataSource).manager.find(Booking, { order: { id: 'ASC' } });
    return found.map(({ guest }) => guest);
  };

  it('sends with the commit, nothing with a rollback', async () => {
    await bookings().book('Ann');
    await expect(bookings().book('Bob', true)).rejects.toThrow('full');
    await mesh.settled();
    expect(mesh.handled(Booked).map(({ data }) => data.guest)).toEqual(['Ann']);
    expect(await guests()).toEqual(['Dear Ann']);
  });

  it('inside a unit of work it is a part of the unit', async () => {
    const work = app.get(UnitOfWork);
    const failing = work.run(async () => {
      await bookings().book('Cid');
      throw new Error('the unit fails');
    });
    await expect(failing).rejects.toThrow('the unit fails');
    await work.run(() => bookings().book('Dan'));
    await mesh.settled();
    expect(await guests()).toEqual(['Dear Ann', 'Dear Dan']);
    expect(mesh.handled(Booked).map(({ data }) => data.guest)).toEqual(['Ann', 'Dan']);
  });

  it('a bus says what to do instead', async () => {
    await expect(bookings().publish()).rejects.toThrow('outbox.add(manager, message)');
  });
});
