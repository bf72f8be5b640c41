import { spawn, type ChildProcess } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import ts from 'typescript';
import type { DataSourceOptions } from 'typeorm';
import { importsOf, parse, readSources, ROOT } from '../../tools/source.js';
import { startBroker } from '../../tools/broker/broker.js';
import { freePort } from '../../tools/ports.js';
import { broker as brokerManifest, manifests, trigger } from '../support/broker-requests.js';
import { eventually, expectFasterThan } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';

/*
 * Uses src/infrastructure in an application that existed before the mesh: test/shop. Both are copied out of this project,
 * transpiled file by file, and run in a process of their own.
 */

interface OrderView {
  readonly order: { id: string; item: string; status: string } | null;
  readonly shipment: { carrier: string; deliveries: number } | null;
}

let folder: string;

beforeAll(() => {
  folder = copyShop();
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe.each(DATABASES)('The library in another application on $kind', ({ fresh }) => {
  let shop: Shop;

  beforeAll(async () => {
    shop = await Shop.open(folder, optionsOf(await fresh()));
  });
  afterAll(() => shop.close());

  it('sends messages from the transactions of the application', async () => {
    expect(await shop.post('/orders', { id: 'a', item: 'tea' })).toEqual({ status: 201, body: { id: 'a' } });
    const placed = await shop.settled('a');
    expect(placed.shipment).toMatchObject({ item: 'tea', carrier: 'a bicycle' });
    expect(placed.order).toEqual({ id: 'a', item: 'tea', status: 'with a bicycle' });
    await shop.idle();
  });

  it('sends nothing from a transaction that was rolled back, and leaves error responses as they were', async () => {
    const refused = await shop.post('/orders', { id: 'b', item: 'tea', fail: true });
    expect(refused).toEqual({
      status: 404,
      body: { message: 'Sold out after all', error: 'Not Found', statusCode: 404 },
    });
    expect(await shop.get('/orders/b')).toEqual({ order: null, shipment: null });
    await shop.idle();
    expect(await shop.get('/mesh/dead-letters')).toMatchObject({ total: 0 });
  });

  it('delivers at the commit, without waiting for the poll', async () => {
    const order = async (n: number) => {
      await shop.post('/orders', { id: `quick-${n}`, item: 'tea' });
      await shop.settled(`quick-${n}`);
    };
    // An order that waits for the poll takes about a second, because the one before ended at the last poll.
    await expectFasterThan(400, order, { times: 5, maxRuns: 60 });
  });

  it('loses none of many concurrent orders', async () => {
    const ids = Array.from({ length: 60 }, (_, n) => `many-${n}`);
    const replies = await Promise.all(
      ids.map((id) => shop.post('/orders', { id, item: 'tea', fail: id.endsWith('7') })),
    );
    const kept = ids.filter((_, index) => replies[index]!.status === 201);
    expect(kept).toHaveLength(54);
    for (const id of kept) expect((await shop.settled(id)).order?.status).toBe('with a bicycle');
    for (const id of ids.filter((it) => !kept.includes(it))) {
      expect(await shop.get(`/orders/${id}`)).toEqual({ order: null, shipment: null });
    }
    await shop.idle();
  });

  it('acknowledges an external event twice, and handles it once', async () => {
    await shop.post('/orders', { id: 'c', item: 'tea' });
    await shop.settled('c');
    const event = {
      specversion: '1.0',
      id: 'parcel-1',
      source: 'https://carrier.example',
      subject: 'c',
      type: 'com.carrier.parcel-delivered',
      data: { door: 'left' },
    };
    expect(await shop.post('/carrier', event)).toEqual({ status: 200, body: { outcome: 'handled' } });
    expect(await shop.post('/carrier', event)).toEqual({ status: 200, body: { outcome: 'duplicate' } });
    expect((await shop.get<OrderView>('/orders/c')).shipment).toMatchObject({ deliveries: 1 });
  });

  it('dead-letters a rejected message, and shows its error, source and data', async () => {
    await shop.post('/orders', { id: 'd', item: 'air' });
    const letters = () => shop.get<{ items: { id: string; error: string }[] }>('/mesh/dead-letters');
    const { items } = await eventually(letters, (it) => it.items.length > 0);
    expect(items).toMatchObject([{ error: 'Reject: Nothing to ship' }]);
    expect(await shop.get(`/mesh/dead-letters/${items[0]!.id}`)).toMatchObject({
      event: { source: 'usvc://shop/orders', type: 'shop.shipping.ship-order', subject: 'd', data: { item: 'air' } },
    });
    expect(await shop.get(`/orders/d`)).toMatchObject({ order: { status: 'placed' } });
  });

  it('runs units of work beside the transactions of the application', async () => {
    await shop.post('/orders', { id: 'e', item: 'tea' });
    await shop.settled('e');
    expect(await shop.post('/orders/e/again', {})).toMatchObject({ status: 201 });
    await shop.settled('e');
    await shop.idle();
  });

  it('serves its administration under /mesh, with problem documents for invalid requests', async () => {
    expect(await shop.get('/mesh/outbox')).toMatchObject({ pending: 0, deadLetters: 1 });
    expect(await shop.get('/mesh/dead-letters?size=many')).toMatchObject({ status: 400, title: 'Malformed request' });
    expect(await shop.get('/health/ready')).toMatchObject({ statusCode: 404 });
  });

  it('stops when the application shuts down', async () => {
    expect(await shop.close()).toBe(0);
  });

  it('sends over a broker when one is configured, and leaves the other routes of the application alone', async () => {
    const [shopPort, brokerPort] = [await freePort(), await freePort()];
    const subscription = (name: string, consumer: string, type: string) => {
      const subscriber = { uri: `http://127.0.0.1:${shopPort}/mesh/${consumer}` };
      return trigger(name, { broker: 'default', filter: { attributes: { type } }, subscriber }, 'shop');
    };
    const resources = manifests(
      brokerManifest('default', { retry: 3, backoffPolicy: 'linear', backoffDelay: 'PT0.1S' }, 'shop'),
      subscription('ship-order', 'shipping', 'shop.shipping.ship-order'),
      subscription('order-shipped', 'orders', 'shop.shipping.order-shipped'),
    );
    const database = `sqlite:${join(mkdtempSync(join(tmpdir(), 'shop-broker-')), 'mesh.db')}`;
    const printed: string[] = [];
    const print = (line: string) => printed.push(line);
    const broker = await startBroker({ manifests: resources, port: brokerPort, database, services: {}, print });
    const environment = { K_SINK: `http://127.0.0.1:${brokerPort}/shop/default`, PORT: String(shopPort) };
    shop = await Shop.open(folder, optionsOf(await fresh()), environment);
    await shop.post('/orders', { id: 'a', item: 'tea' });
    expect(await shop.settled('a')).toMatchObject({ order: { status: 'with a bicycle' }, shipment: { item: 'tea' } });
    await shop.idle();
    expect(printed.join('\n')).toMatch(/shop\.shipping\.ship-order[^]*shop\.shipping\.order-shipped/);
    // The route / belongs to the application.
    expect(await shop.post('/', {})).toMatchObject({ status: 404, body: { error: 'Not Found', statusCode: 404 } });
    expect(await shop.close()).toBe(0);
    await broker.stop(0);
  });
});

it('docs/adopting.md shows the code of test/shop, and names each package that the library needs', () => {
  const page = readFileSync(join(ROOT, 'docs/adopting.md'), 'utf8');
  const blocks = [...page.matchAll(/```ts\n\/\/ (\S+)\n([^]*?)```/g)];
  expect(blocks.length).toBeGreaterThan(3);
  for (const [, file, code] of blocks) {
    const source = withSingleSpaces(withLocalImports(readFileSync(join(ROOT, 'test/shop', file!), 'utf8')));
    for (const part of code!.split(/^\s*\/\/ …$/m)) expect(source).toContain(withSingleSpaces(part));
  }
  const packages = [...readSources('src/infrastructure')].flatMap(([path, text]) =>
    importsOf(parse(path, text)).filter((it) => it && !/^(src|node:)/.test(it)),
  );
  const names = packages.map((it) => it!.split('/', it!.startsWith('@') ? 2 : 1).join('/'));
  for (const name of new Set(names)) expect(page).toContain(`\`${name}\``);
});

function withSingleSpaces(code: string): string {
  return code.replace(/\s+/g, ' ').trim();
}

function withLocalImports(text: string): string {
  return text.replaceAll('../../src/infrastructure/', './infrastructure/');
}

/** Copies the shop and the library into a new folder, as JavaScript. @returns the folder */
function copyShop(): string {
  const folder = mkdtempSync(join(tmpdir(), 'cabs-carried-'));
  cpSync(join(ROOT, 'src/infrastructure'), join(folder, 'infrastructure'), { recursive: true });
  cpSync(join(ROOT, 'test/shop'), folder, { recursive: true });
  mkdirSync(join(folder, 'data'));
  symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
  const { compilerOptions } = ts.readConfigFile(join(ROOT, 'tsconfig.json'), (path) => readFileSync(path, 'utf8'))
    .config as { compilerOptions: object };
  const options = ts.convertCompilerOptionsFromJson(
    { ...compilerOptions, module: 'esnext', noEmit: false },
    folder,
  ).options;
  for (const path of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
    if (!path.endsWith('.ts') || path.startsWith('node_modules')) continue;
    const fileName = join(folder, path);
    const text = withLocalImports(readFileSync(fileName, 'utf8'));
    const { outputText } = ts.transpileModule(text, { fileName, compilerOptions: options });
    writeFileSync(fileName.replace(/ts$/, 'js'), outputText);
  }
  return folder;
}

/** The options of the shop's data source. */
function optionsOf(url: string): DataSourceOptions {
  const path = url.replace(/^sqlite:/, '');
  return path === url ? { type: 'postgres', url } : { type: 'better-sqlite3', database: path };
}

/** The shop in a process of its own. */
class Shop {
  private constructor(
    private readonly process: ChildProcess,
    private readonly url: string,
  ) {}

  static async open(
    folder: string,
    database: DataSourceOptions,
    environment: Record<string, string> = {},
  ): Promise<Shop> {
    const child = spawn(process.execPath, ['main.js'], {
      cwd: folder,
      env: { ...process.env, NODE_OPTIONS: '', SHOP_DATABASE: JSON.stringify(database), ...environment },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let output = '';
    const port = await new Promise<string>((resolve, reject) => {
      const read = (chunk: Buffer) => {
        output += chunk.toString();
        const found = /listening on (\d+)/.exec(output)?.[1];
        if (found) resolve(found);
      };
      child.stdout.on('data', read);
      child.stderr.on('data', read);
      child.once('exit', (code) => reject(new Error(`The shop exited with code ${code}:\n${output}`)));
    });
    return new Shop(child, `http://127.0.0.1:${port}`);
  }

  async get<Body = object>(path: string): Promise<Body> {
    return (await (await fetch(this.url + path)).json()) as Body;
  }

  async post(path: string, body: object): Promise<{ status: number; body: unknown }> {
    const headers = { 'content-type': 'application/json' };
    const reply = await fetch(this.url + path, { method: 'POST', headers, body: JSON.stringify(body) });
    return { status: reply.status, body: await reply.json() };
  }

  /** Waits until the answer of shipping has changed the order. */
  settled(id: string): Promise<OrderView> {
    return eventually(
      () => this.get<OrderView>(`/orders/${id}`),
      ({ order }) => order?.status !== 'placed',
    );
  }

  async idle(): Promise<void> {
    const statistics = () => this.get<{ pending: number }>('/mesh/outbox');
    await eventually(statistics, ({ pending }) => pending === 0);
  }

  /** @returns the exit code */
  async close(): Promise<number | null> {
    if (this.process.exitCode !== null) return this.process.exitCode;
    const exited = new Promise<number | null>((resolve) => this.process.once('exit', resolve));
    this.process.kill('SIGTERM');
    return exited;
  }
}
