import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { startBroker } from '../../tools/broker/broker.js';
import { freePort } from '../../tools/ports.js';
import { eventually, expectFasterThan } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';
import { HostApplication, packPackage, type HostKind, type RunningShop } from '../support/host-application.js';
import { MailServer } from '../support/smtp-server.js';
import { IS_THOROUGH } from '../support/thorough.js';

/*
 * The package in applications that `nest new` made. Installing takes minutes, so that only a few kinds run with the other slow
 * suites; `npm run test:hosts` runs all.
 */

const kinds: HostKind[] = ([11, 12] as const).flatMap((nest) =>
  (['0.3', '1'] as const).flatMap((typeorm) =>
    (['cjs', 'esm'] as const).flatMap((format) =>
      (['express', 'fastify'] as const).map((platform) => ({ nest, typeorm, format, platform })),
    ),
  ),
);
/** The two that differ in everything. */
const SHORT: HostKind[] = [
  { nest: 11, typeorm: '0.3', format: 'cjs', platform: 'express' },
  { nest: 12, typeorm: '1', format: 'esm', platform: 'fastify' },
];

let tarball: string;
beforeAll(() => {
  tarball = packPackage();
}, 120_000);

describe.each(IS_THOROUGH ? kinds : SHORT)('Nest $nest, TypeORM $typeorm, $format, $platform', (kind) => {
  let host: HostApplication;

  beforeAll(() => {
    host = HostApplication.install(kind, tarball);
  }, 300_000);

  it('compiles with its own settings', () => host.build(), 120_000);

  // `nest new` sets up Jest for CommonJS, Vitest for ES modules.
  const hasRunner = (kind.nest === 11) === (kind.format === 'cjs');
  const onPostgres = DATABASES.filter((it) => it.kind === 'postgres');
  (hasRunner ? it : it.skip)(
    'passes its own tests',
    async () => host.test(await Promise.all([...onPostgres, ...onPostgres].map((it) => it.fresh()))),
    120_000,
  );

  describe.each(DATABASES)('on $kind', ({ fresh }) => {
    let mails: MailServer;
    let database: string;
    let shop: RunningShop;
    let broker: Awaited<ReturnType<typeof brokerFor>>;

    beforeAll(async () => {
      mails = await MailServer.start();
      database = await fresh();
      shop = await host.start(database, { SMTP_URL: mails.url });
    }, 60_000);
    afterAll(async () => {
      await shop.end('SIGKILL');
      await broker.stop();
      await mails.stop();
    });

    it('is migrated by the command line', async () => {
      const other = ['--app', 'dist/shop.module.js', '--database', await fresh()];
      expect(() => host.meshy('status', ...other)).toThrow(/shipping: 1 missing/);
      expect(host.meshy('sql', ...other)).toMatch(/CREATE TABLE .*mesh_outbox/);
      expect(host.meshy('migrate', ...other)).toMatch(/^Applied:\n- mesh\//);
      expect(host.meshy('status', ...other)).toMatch(
        /^mesh: \d applied\nmails: 0 applied\norders: 0 applied\nshipping: 1 applied/,
      );
      // The shop has migrated its database at the start.
      const own = ['--app', 'dist/shop.module.js', '--database', database];
      expect(host.meshy('migrate', ...own)).toBe('Nothing to apply.\n');
    });

    it('an order and its mail', async () => {
      expect(await shop.order('a')).toEqual({ status: 201, body: { data: { id: 'a' } } });
      expect(await shop.shipped('a')).toMatchObject({ order: { status: 'with a bicycle' }, shipment: { item: 'tea' } });
      await shop.idle();
      expect(mails.accepted).toHaveLength(1);
    });

    it('a rollback leaves nothing', async () => {
      expect((await shop.order('b', 'tea', { fail: true })).status).toBe(404);
      expect(await shop.find('b')).toEqual({ order: null, shipment: null });
      await shop.idle();
      expect(mails.accepted).toHaveLength(1);
    });

    it('kill -9 while the mail is sent: it is sent once more, with the same id', async () => {
      const seen: string[] = [];
      mails.receive = async (id) => {
        seen.push(id);
        if (seen.length === 1) await wait(60_000, undefined, { ref: false });
      };
      expect((await shop.order('c')).status).toBe(201);
      await eventually(
        async () => seen,
        (it) => it.length === 1,
      );
      await shop.end('SIGKILL');
      shop = await host.start(database, { SMTP_URL: mails.url });
      // The next attempt waits until the first one must have ended.
      await eventually(
        async () => seen,
        (it) => it.length === 2,
        40_000,
      );
      await shop.idle();
      expect(new Set(seen).size).toBe(1);
      expect(mails.accepted.filter((id) => id === seen[0])).toHaveLength(1);
    }, 90_000);

    it('loses none of many concurrent orders', async () => {
      const ids = Array.from({ length: 60 }, (_, n) => `many-${n}`);
      const replies = await Promise.all(ids.map((id) => shop.order(id, 'tea', { fail: id.endsWith('7') })));
      const kept = ids.filter((_, index) => replies[index]!.status === 201);
      expect(kept).toHaveLength(54);
      const before = mails.accepted.length;
      await shop.idle();
      for (const id of kept) expect((await shop.find(id)).order?.status).toBe('with a bicycle');
      expect(mails.accepted.length - before).toBeLessThanOrEqual(54);
      expect(new Set(mails.accepted).size).toBe(mails.accepted.length);
    });

    it('an external event that comes twice is handled once', async () => {
      const event = {
        specversion: '1.0',
        id: 'parcel-1',
        source: 'https://carrier.example',
        subject: 'a',
        type: 'com.carrier.parcel-delivered',
        data: { door: 'left' },
      };
      const outcomes = [await shop.call('POST', '/carrier', event), await shop.call('POST', '/carrier', event)];
      expect(outcomes.map(({ body }) => body)).toEqual([
        { data: { outcome: 'handled' } },
        { data: { outcome: 'duplicate' } },
      ]);
      expect((await shop.find('a')).shipment).toMatchObject({ deliveries: 1 });
    });

    it('a rejected message is a dead letter, which the administration shows', async () => {
      await shop.order('d', 'air');
      const letters = () => shop.mesh<{ items: { id: string; error: string }[] }>('/dead-letters');
      const { items } = await eventually(letters, (it) => it.items.length > 0);
      expect(items).toMatchObject([{ error: 'Reject: Nothing to ship' }]);
      expect(await shop.mesh(`/dead-letters/${items[0]!.id}`)).toMatchObject({
        event: { source: 'usvc://shop/orders', type: 'shop.shipping.ship-order', subject: 'd', data: { item: 'air' } },
      });
      expect(host.meshy('dead-letters', 'list', '--url', shop.url)).toContain('Reject: Nothing to ship');
      expect(host.meshy('dead-letters', 'discard', items[0]!.id, '--url', shop.url)).toBe('Discarded.\n');
      expect(await shop.mesh('/dead-letters?size=many')).toMatchObject({ status: 400, title: 'Malformed request' });
    });

    it('units of work run beside the transactions of the application', async () => {
      expect(await shop.call('POST', '/orders/a/again', {})).toMatchObject({ status: 201 });
      await shop.shipped('a');
      await shop.idle();
    });

    it('delivers at the commit, without waiting for the poll', async () => {
      const order = async (n: number) => {
        await shop.order(`quick-${n}`);
        await shop.shipped(`quick-${n}`);
      };
      // An order that waits for the poll takes about a second, because the one before ended at the last poll.
      await expectFasterThan(400, order, { times: 5, maxRuns: 60 });
    });

    it('stops soon, without being killed', async () => {
      const began = performance.now();
      expect(await shop.end('SIGTERM')).toBe('SIGTERM');
      expect(performance.now() - began).toBeLessThan(5000);
    });

    it('sends over a broker, and leaves the other routes of the application alone', async () => {
      const port = await freePort();
      broker = await brokerFor(host, port);
      shop = await host.start(database, {
        SMTP_URL: mails.url,
        K_SINK: `${broker.url}/shop/default`,
        PORT: String(port),
      });
      const before = mails.accepted.length;
      await shop.order('over the broker');
      expect(await shop.shipped('over the broker')).toMatchObject({ order: { status: 'with a bicycle' } });
      await shop.idle();
      await eventually(
        async () => mails.accepted.length,
        (n) => n === before + 1,
      );
      expect(broker.printed()).toMatch(/shop\.shipping\.ship-order[^]*shop\.shipping\.order-shipped/);
      // The route / belongs to the application.
      expect((await shop.call('POST', '/', {})).body).toMatchObject({ error: 'Not Found', statusCode: 404 });
    });
  });
});

/** A laptop broker with the manifests that the command line generates, for a shop at `port`. */
async function brokerFor(host: HostApplication, port: number) {
  const folder = mkdtempSync(join(tmpdir(), 'shop-broker-'));
  const manifests = join(folder, 'manifests');
  host.meshy('manifests', '--app', 'dist/shop.module.js', '--service', 'shop', '--namespace', 'shop', manifests);
  const services = { shop: `http://127.0.0.1:${port}` };
  const printed: string[] = [];
  const print = (line: string) => void printed.push(line);
  const broker = await startBroker({
    manifests,
    port: 0,
    database: `sqlite:${join(folder, 'mesh.db')}`,
    services,
    print,
  });
  return { url: broker.url, printed: () => printed.join('\n'), stop: () => broker.stop(0) };
}
