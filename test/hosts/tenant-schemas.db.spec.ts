import { Injectable, Module, type INestApplication } from '@nestjs/common';
import { EventsHandler } from '@nestjs/cqrs';
import { Test } from '@nestjs/testing';
import { getDataSourceToken, TypeOrmModule } from '@nestjs/typeorm';
import { Column, DataSource, Entity, PrimaryGeneratedColumn, type DataSourceOptions } from 'typeorm';
import { z } from 'zod';
import { MeshFeature } from '../../src/infrastructure/contracts/mesh-feature.js';
import { durableEvent, type EffectHandler } from '../../src/infrastructure/contracts/message.js';
import { MeshModule } from '../../src/infrastructure/mesh.module.js';
import { Outbox } from '../../src/infrastructure/outbox/outbox.js';
import { eventually } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';

/* An application that gives each tenant a schema of its own, with a data source that it opens when the tenant comes. */

@Entity()
class Client {
  @PrimaryGeneratedColumn()
  id: number;
  @Column('text')
  name: string;
}

class ClientCreated extends durableEvent('crm.clients.client-created', z.object({ name: z.string() })) {}

const mails: string[] = [];

@Injectable()
@EventsHandler(ClientCreated)
class MailOnClientCreated implements EffectHandler<ClientCreated> {
  async perform({ data }: ClientCreated): Promise<void> {
    mails.push(data.name);
  }
}

@MeshFeature({ name: 'clients', contract: { ClientCreated } })
@Module({ providers: [MailOnClientCreated] })
class ClientsModule {}

const postgres = DATABASES.filter(({ kind }) => kind === 'postgres');
(postgres.length ? describe : describe.skip).each(postgres)('A data source of a tenant', ({ fresh }) => {
  let app: INestApplication;
  let tenant: DataSource;

  beforeAll(async () => {
    const options: DataSourceOptions = { type: 'postgres', url: await fresh(), entities: [Client] };
    const mesh = MeshModule.forRootAsync({
      inject: [getDataSourceToken()],
      useFactory: (database: DataSource) => ({
        application: 'crm',
        modules: [ClientsModule],
        database,
        migrate: true,
      }),
    });
    const testing = Test.createTestingModule({ imports: [TypeOrmModule.forRoot(options), mesh, ClientsModule] });
    app = await (await testing.compile()).createNestApplication({ logger: false }).init();
    await app.get<DataSource>(getDataSourceToken()).query('CREATE SCHEMA tenant_1');
    // Nothing but the schema of the tenant is on the search path of these connections.
    const extra = { options: '-c search_path=tenant_1' };
    tenant = await new DataSource({ ...options, schema: 'tenant_1', extra, synchronize: true }).initialize();
  });
  afterAll(async () => {
    await tenant.destroy();
    await app.close();
  });

  const create = (name: string, fail = false) =>
    tenant.transaction(async (manager) => {
      const { id } = await manager.save(Client, { name });
      await app.get(Outbox).add(manager, new ClientCreated(String(id), { name }));
      if (fail) throw new Error('No more clients');
    });

  it('keeps a message with the state of its transaction', async () => {
    await expect(create('Ann', true)).rejects.toThrow('No more clients');
    await create('Bob');
    await eventually(
      async () => mails,
      (it) => it.length > 0,
    );
    expect(mails).toEqual(['Bob']);
    expect(await tenant.manager.find(Client)).toMatchObject([{ name: 'Bob' }]);
  });
});
