import type { INestApplication } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { TestMesh, temporaryDatabase } from 'nestjs-meshy/testing';
import { Mailer } from './mails.module.js';
import { OrderPlaced } from './orders.contract.js';
import { OrdersController } from './orders.module.js';
import { adapter } from './platform.js';
import { ShipOrder } from './shipping.contract.js';
import { ShopModule } from './shop.module.js';

describe('An order', () => {
  const database = temporaryDatabase();
  const mails: { to?: unknown }[] = [];
  let app: INestApplication;
  let mesh: TestMesh;

  beforeAll(async () => {
    process.env.SHOP_DATABASE = JSON.stringify({ type: 'better-sqlite3', database: database.path, enableWAL: true });
    const testing = Test.createTestingModule({ imports: [ShopModule] })
      .overrideProvider(Mailer)
      .useValue({ send: async (mail: object) => void mails.push(mail) });
    app = (await testing.compile()).createNestApplication(adapter(), { logger: ['warn'] });
    await app.init();
    mesh = TestMesh.of(app);
  });
  afterAll(async () => {
    await app.close();
    database.remove();
  });
  beforeEach(() => {
    mails.splice(0);
    mesh.recover();
  });

  it('is shipped, and its customer gets a mail', async () => {
    await app.get(OrdersController).place({ id: '1', item: 'tea', email: 'ann@example.com' });
    await mesh.settled();
    expect(mesh.handled(ShipOrder)).toHaveLength(1);
    expect(mails).toMatchObject([{ to: 'ann@example.com' }]);
  });

  it('that is sold out leaves nothing', async () => {
    const order = { id: '2', item: 'tea', email: 'bob@example.com', fail: true };
    await expect(app.get(OrdersController).place(order)).rejects.toThrow('Sold out');
    await mesh.settled();
    expect(mails).toEqual([]);
  });

  it('gets one mail although the mail server is down for a while', async () => {
    mesh.fail(OrderPlaced, { times: 5, module: 'mails' });
    await app.get(OrdersController).place({ id: '3', item: 'tea', email: 'cid@example.com' });
    await mesh.settled();
    expect(mails).toHaveLength(1);
  });

  it('that can never be shipped is a dead letter', async () => {
    await app.get(OrdersController).place({ id: '4', item: 'air', email: 'dan@example.com' });
    await mesh.settled();
    expect(await mesh.deadLetters()).toMatchObject([{ consumer: 'shipping', error: 'Reject: Nothing to ship' }]);
  });
});
