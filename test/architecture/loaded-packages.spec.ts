import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ROOT } from '../../tools/source.js';
import { DATABASES } from '../support/databases.js';

/** Packages that only some processes need, or none at its start, and that take up to 400 ms to load. */
const PACKAGES = ['@nestjs/swagger', '@opentelemetry/api', 'cloudevents', 'jose', 'pg', 'prom-client', 'undici'];
/** Files of this project that only some processes need. */
const OWN = ['broker/publisher', 'console/console-feed', 'http/oidc/oidc-tokens', 'leases/postgres-leases'];
const ON_DEMAND = [
  ...PACKAGES.map((it) => `node_modules/${it}/`),
  ...OWN.map((it) => `dist/src/infrastructure/${it}.js`),
];

/**
 * A few more files than a start loads: each takes some 0.3 ms. Load a package with many files on demand, or raise this number
 * for a reason.
 */
const MAX_FILES = 1750;

const compiled = (path: string) => JSON.stringify(pathToFileURL(join(ROOT, 'dist/src', path)).href);

/** Hooks of Node's module loader that send the URL of each ES module to the main thread. */
const HOOKS = `
  let port;
  export const initialize = (data) => { port = data; };
  export const load = (url, context, next) => (port.postMessage(url), next(url, context));`;

/** A module that is imported after all others. */
const LAST = 'data:text/javascript,export{}';

/** Starts the compiled application on SQLite, and prints the names of the files that were loaded. */
const script = (first: string) => `
  const { createRequire, register } = await import('node:module');
  const { MessageChannel } = await import('node:worker_threads');
  const { port1, port2 } = new MessageChannel();
  const urls = [];
  port1.on('message', (url) => urls.push(url)).unref();
  register(${JSON.stringify(`data:text/javascript,${encodeURIComponent(HOOKS)}`)}, { data: port2, transferList: [port2] });
  ${first}
  const { AppModule, MODULE_NAMES } = await import(${compiled('app.module.js')});
  const { loadConfig } = await import(${compiled('config-loader.js')});
  const { configureHttp } = await import(${compiled('infrastructure/http/configure-http.js')});
  const { serveApiPage } = await import(${compiled('infrastructure/http/openapi.js')});
  const { NestFactory } = await import('@nestjs/core');
  const variables = { DATABASE_URL: process.env.DATABASE_URL, SEED: 'none', LOG_LEVEL: 'silent' };
  const root = AppModule.forRoot(await loadConfig(MODULE_NAMES, { variables }));
  const app = await NestFactory.create(root, { logger: false, bodyParser: false, abortOnError: false });
  configureHttp(app);
  serveApiPage(app, 'Meshy Cabs');
  await app.listen(0, '127.0.0.1');
  await app.close();
  // Messages arrive in their order, so all URLs have arrived with this one.
  await import('${LAST}');
  while (!urls.includes('${LAST}')) await new Promise(setImmediate);
  const files = [...Object.keys(createRequire(import.meta.url).cache), ...urls];
  console.log(JSON.stringify(files));`;

async function loadedBy(first: string): Promise<string[]> {
  const args = ['--input-type=module', '--eval', script(first)];
  const env = { PATH: process.env.PATH, DATABASE_URL: await DATABASES[0]!.fresh() };
  const { stdout, stderr, status } = spawnSync(process.execPath, args, { cwd: ROOT, env, encoding: 'utf8' });
  expect({ stderr, status }).toEqual({ stderr: '', status: 0 });
  return JSON.parse(stdout) as string[];
}

const onDemand = (files: readonly string[]) => ON_DEMAND.filter((path) => files.some((it) => it.includes(path)));

describe('The compiled application', () => {
  it('starts without the packages and files that only some processes need, and with few others', async () => {
    const files = await loadedBy('');
    expect(onDemand(files)).toEqual([]);
    expect(files.length).toBeLessThan(MAX_FILES);
  }, 120_000);

  // So that the test above can't pass because nothing is found.
  it('would be seen to load them', async () => {
    const own = OWN.map((it) => compiled(`infrastructure/${it}.js`));
    const imports = [...PACKAGES.map((it) => `'${it}'`), ...own].map((it) => `await import(${it});`);
    const files = await loadedBy(imports.join(' '));
    expect(onDemand(files)).toEqual(ON_DEMAND);
    expect(files.length).toBeGreaterThan(MAX_FILES);
  }, 120_000);
});
