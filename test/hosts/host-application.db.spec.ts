import {
  Body,
  Controller,
  Get,
  Injectable,
  Module,
  Param,
  Post,
  UnauthorizedException,
  VersioningType,
  type CallHandler,
  type CanActivate,
  type ExecutionContext,
  type INestApplication,
  type NestInterceptor,
} from '@nestjs/common';
import { APP_INTERCEPTOR } from '@nestjs/core';
import { EventBus, EventsHandler } from '@nestjs/cqrs';
import { Test } from '@nestjs/testing';
import { getDataSourceToken, InjectRepository, TypeOrmModule } from '@nestjs/typeorm';
import { map } from 'rxjs';
import request from 'supertest';
import {
  Column,
  DataSource,
  Entity,
  EventSubscriber,
  ManyToOne,
  OneToMany,
  PrimaryGeneratedColumn,
  Repository,
  type DataSourceOptions,
  type EntitySubscriberInterface,
  type InsertEvent,
} from 'typeorm';
import { z } from 'zod';
import { MeshFeature } from '../../src/infrastructure/contracts/mesh-feature.js';
import { durableEvent, type DurableEventHandler } from '../../src/infrastructure/contracts/message.js';
import { MeshModule } from '../../src/infrastructure/mesh.module.js';
import { Outbox } from '../../src/infrastructure/outbox/outbox.js';
import { UnitOfWork } from '../../src/infrastructure/persistence/unit-of-work.js';
import { problemOf } from '../../src/infrastructure/http/problem.js';
import { eventually } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';
import { outcome } from '../support/notes.js';

/*
 * An application as people have them: its own data source with relations, a subscriber and a schema, repositories that Nest
 * injects, a prefix, versions, a guard and an interceptor for all routes, a service of another module that publishes.
 */

@Entity()
class Customer {
  @PrimaryGeneratedColumn()
  id: number;
  @Column('text')
  name: string;
  @OneToMany(() => Purchase, (purchase) => purchase.customer, { cascade: true })
  purchases: Purchase[];
}

@Entity()
class Purchase {
  @PrimaryGeneratedColumn()
  id: number;
  @Column('text')
  itemName: string;
  @Column('integer', { default: 0 })
  mails: number;
  @ManyToOne(() => Customer, (customer) => customer.purchases)
  customer: Customer;
}

const inserted: string[] = [];
/** The items of the handled events. */
const mailed: string[] = [];

@EventSubscriber()
class InsertWatch implements EntitySubscriberInterface {
  afterInsert({ metadata }: InsertEvent<unknown>): void {
    inserted.push(metadata.name);
  }
}

class Purchased extends durableEvent('host.sales.purchased', z.object({ item: z.string() })) {}

@Injectable()
class SalesService {
  constructor(
    @InjectRepository(Customer) private readonly customers: Repository<Customer>,
    @InjectRepository(Purchase) private readonly purchases: Repository<Purchase>,
    private readonly work: UnitOfWork,
    private readonly events: EventBus,
    private readonly outbox: Outbox,
  ) {}

  /** A unit of work around code that knows only repositories. */
  buy(name: string, itemName: string, fail: boolean): Promise<number> {
    return this.work.run(async () => {
      const { purchases } = await this.customers.save({ name, purchases: [{ itemName }] });
      // TypeORM's own transaction is a savepoint inside the unit.
      await this.purchases.manager.transaction((manager) => manager.insert(Customer, { name: `${name} again` }));
      this.events.publish(new Purchased(String(purchases[0]!.id), { item: itemName }));
      if (fail) throw new Error('sold out');
      return purchases[0]!.id;
    });
  }

  /** A transaction of the application. */
  buyInOwnTransaction(name: string, itemName: string, fail: boolean): Promise<number> {
    return this.customers.manager.transaction(async (manager) => {
      const { purchases } = await manager.save(Customer, { name, purchases: [{ itemName }] });
      await this.outbox.add(manager, new Purchased(String(purchases[0]!.id), { item: itemName }));
      if (fail) throw new Error('sold out');
      return purchases[0]!.id;
    });
  }

  /** A transaction for each name inside of one unit; those that fail are skipped. */
  import(names: readonly string[]): Promise<string[]> {
    return this.work.run(async () => {
      const imported: string[] = [];
      for (const name of names) {
        await this.buyInOwnTransaction(name, name, name.startsWith('bad')).then(
          () => imported.push(name),
          () => undefined,
        );
      }
      return imported;
    });
  }

  find(id: number) {
    return this.purchases.findOne({ where: { id }, relations: { customer: true } });
  }
  count() {
    return this.customers.count();
  }
}

@EventsHandler(Purchased)
class MailOnPurchased implements DurableEventHandler<Purchased> {
  constructor(@InjectRepository(Purchase) private readonly purchases: Repository<Purchase>) {}

  async handle({ subject, data }: Purchased): Promise<void> {
    mailed.push(data.item);
    await this.purchases.increment({ id: Number(subject) }, 'mails', 1);
  }
}

@MeshFeature({ name: 'sales', contract: { Purchased } })
@Module({
  imports: [TypeOrmModule.forFeature([Customer, Purchase])],
  providers: [SalesService, MailOnPurchased],
  exports: [SalesService],
})
class SalesModule {}

@Controller({ path: 'desk', version: '2' })
class DeskController {
  constructor(private readonly sales: SalesService) {}

  @Post(':way')
  async buy(@Param('way') way: string, @Body() { name, fail = false }: { name: string; fail?: boolean }) {
    const buy = way === 'own' ? this.sales.buyInOwnTransaction(name, 'tea', fail) : this.sales.buy(name, 'tea', fail);
    return { id: await buy };
  }
  @Get(':id')
  read(@Param('id') id: string) {
    return this.sales.find(Number(id));
  }
}

/** Not on the mesh: its controller reaches the mesh through a service of another module. */
@Module({ imports: [SalesModule], controllers: [DeskController] })
class DeskModule {}

@Injectable()
class Wrapper implements NestInterceptor {
  intercept(_: ExecutionContext, next: CallHandler) {
    return next.handle().pipe(map((data: unknown) => ({ data })));
  }
}

const LETMEIN = { 'x-api-key': 'open' };
class KeyGuard implements CanActivate {
  canActivate(context: ExecutionContext): boolean {
    if (context.switchToHttp().getRequest<{ headers: object }>().headers['x-api-key' as never] === 'open') return true;
    throw new UnauthorizedException('No key');
  }
}

async function start(options: DataSourceOptions): Promise<INestApplication> {
  const own = { ...options, autoLoadEntities: true, subscribers: [InsertWatch], synchronize: true };
  const mesh = MeshModule.forRootAsync({
    inject: [getDataSourceToken()],
    useFactory: (database: DataSource) => ({
      application: 'host',
      modules: [SalesModule],
      database,
      migrate: true,
      administration: { isDevelopment: true },
    }),
    http: 'administration',
  });
  const testing = await Test.createTestingModule({
    imports: [TypeOrmModule.forRoot(own), mesh, SalesModule, DeskModule],
    providers: [{ provide: APP_INTERCEPTOR, useClass: Wrapper }],
  }).compile();
  const app = testing.createNestApplication({ logger: false });
  app.setGlobalPrefix('api');
  app.enableVersioning({ type: VersioningType.URI });
  app.useGlobalGuards(new KeyGuard());
  return app.init();
}

describe.each(DATABASES)(
  'The mesh in an application with its own data source on $kind',
  ({ kind, fresh, makeUnavailable }) => {
    let app: INestApplication;
    let options: DataSourceOptions;

    beforeAll(async () => {
      const url = await fresh();
      options =
        kind === 'postgres'
          ? { type: 'postgres', url, schema: 'app', extra: { max: 4 } }
          : { type: 'better-sqlite3', database: url.slice('sqlite:'.length) };
      if (kind === 'postgres') {
        const plain = await new DataSource({ type: 'postgres', url }).initialize();
        await plain.query('CREATE SCHEMA app');
        await plain.destroy();
      }
      app = await start(options);
    });
    afterAll(() => app.close());

    const buy = (way: string, body: object) =>
      request(app.getHttpServer()).post(`/api/v2/desk/${way}`).set(LETMEIN).send(body);
    const purchase = async (id: number) => {
      const { body } = await request(app.getHttpServer()).get(`/api/v2/desk/${id}`).set(LETMEIN);
      return (body as { data: { mails: number; customer: { name: string } } }).data;
    };
    const customers = () => app.get(SalesService, { strict: false }).count();

    it.each(['unit', 'own'])('keeps a message with the state of its transaction (%s)', async (way) => {
      const { body, status } = await buy(way, { name: 'Ann' });
      expect({ status, body: body as object }).toEqual({ status: 201, body: { data: { id: expect.any(Number) } } });
      const { id } = (body as { data: { id: number } }).data;
      const settled = await eventually(
        () => purchase(id),
        ({ mails }) => mails > 0,
      );
      expect(settled).toMatchObject({ mails: 1, customer: { name: 'Ann' } });
    });

    it('takes the errors of its own connections for those of the database, and no others', async () => {
      const host = app.get<DataSource>(getDataSourceToken());
      const statusOf = (error: unknown) => problemOf(error).problem.status;
      const refused = Object.assign(new Error('the mail server'), { code: 'ECONNREFUSED' });
      const another = Object.assign(new Error('another database'), { code: '40001' });
      expect([refused, another].map(statusOf)).toEqual([500, 500]);
      if (kind === 'sqlite') return;
      const ended = 'SELECT pg_terminate_backend(pg_backend_pid())';
      expect(statusOf(await outcome(host.query(ended)))).toBe(503);
      expect(statusOf(await outcome(host.query('SELECT * FROM mesh_absent')))).toBe(503);
      expect(statusOf(await outcome(host.query('SELECT $1::text', ['a', 'b'])))).toBe(500);
      const { url } = options as { url: string };
      const makeAvailable = await makeUnavailable(url);
      expect(statusOf(await outcome(host.query('SELECT 1')))).toBe(503);
      await makeAvailable();
      await eventually(
        () => outcome(host.query('SELECT 1')),
        (it) => it === 'done',
      );
    });

    it.each(['unit', 'own'])('rolls both back (%s)', async (way) => {
      const before = await customers();
      expect((await buy(way, { name: 'Bob', fail: true })).status).toBe(500);
      expect(await customers()).toBe(before);
      const { body } = await request(app.getHttpServer()).get('/mesh/outbox');
      expect(body).toMatchObject({ pending: 0, deadLetters: 0 });
    });

    it('leaves out the messages of transactions that failed inside of a unit', async () => {
      mailed.length = 0;
      const sales = app.get(SalesService, { strict: false });
      expect(await sales.import(['bad first', 'one', 'bad second', 'two'])).toEqual(['one', 'two']);
      await eventually(
        async () => mailed,
        (it) => it.includes('two'),
      );
      const { body } = await request(app.getHttpServer()).get('/mesh/outbox');
      expect(body).toMatchObject({ pending: 0, deadLetters: 0 });
      expect(mailed).toEqual(['one', 'two']);
    });

    it('calls the subscribers of the application in a unit', async () => {
      inserted.length = 0;
      await buy('unit', { name: 'Cid' });
      expect(inserted.sort()).toEqual(['Customer', 'Customer', 'Purchase']);
    });

    it('is outside of its prefix, versions, guards and interceptors, which go on working', async () => {
      const http = request(app.getHttpServer());
      expect((await http.get('/mesh/outbox')).body).toMatchObject({ pending: expect.any(Number) });
      expect((await http.get('/mesh/dead-letters?size=0')).body).toMatchObject({
        status: 400,
        errors: [{ field: 'size' }],
      });
      expect((await http.get('/api/mesh/outbox').set(LETMEIN)).status).toBe(404);
      expect((await http.get('/api/v2/desk/1')).body).toEqual({
        message: 'No key',
        error: 'Unauthorized',
        statusCode: 401,
      });
      expect((await http.get('/health/ready')).status).toBe(404);
    });

    it('starts again with the same database', async () => {
      await app.close();
      app = await start(options);
      expect((await buy('unit', { name: 'Dan' })).status).toBe(201);
    });

    if (kind === 'postgres') {
      it('puts its tables into the schema of the application, and opens no more connections than that allows', async () => {
        const source = app.get<DataSource>(getDataSourceToken());
        await Promise.all(Array.from({ length: 20 }, () => buy('unit', { name: 'Eve' })));
        const tables = await source.query<{ table_schema: string }[]>(
          `SELECT DISTINCT table_schema FROM information_schema.tables WHERE table_name LIKE 'mesh\\_%'`,
        );
        expect(tables).toEqual([{ table_schema: 'app' }]);
        const [row] = await source.query<{ n: number }[]>(
          `SELECT count(*)::integer AS n FROM pg_stat_activity
          WHERE datname = current_database() AND application_name = 'mesh' AND backend_type = 'client backend'`,
        );
        // 4 that write, 4 that read; leases have a connection of their own.
        expect(row!.n).toBeLessThanOrEqual(9);
      });
    }
  },
);
