import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DataSourceOptions } from 'typeorm';
import { ROOT } from '../../tools/source.js';
import { eventually } from './cabs.js';

/*
 * Applications as `nest new` makes them (test/hosts/matrix), with the modules of test/shop, which install the packed package
 * as people do.
 */

export interface HostKind {
  readonly nest: 11 | 12;
  readonly typeorm: '0.3' | '1';
  readonly format: 'cjs' | 'esm';
  readonly platform: 'express' | 'fastify';
}

interface Manifest {
  type?: string;
  dependencies: Record<string, string>;
  devDependencies: Record<string, string>;
}

/** The oldest versions that the manifest of the package takes: half of the applications on Nest 11 have them. */
const OLDEST = { '@nestjs/common': '11.1.4', '@nestjs/core': '11.1.4' };

/** Development tools that nothing here uses. */
const UNUSED = /eslint|prettier|globals|oxlint|coverage|mau$/;

const OF_TESTS = {
  '@nestjs-cls/transactional': '^3.3.0',
  '@nestjs-cls/transactional-adapter-typeorm': '^1.4.0',
  '@types/nodemailer': '*',
  // Of the application itself, and too old for the tokens of the mesh.
  jose: '^5.0.0',
  'nestjs-cls': '^6.3.0',
  'typeorm-transactional': '^0.5.0',
};

/** Builds and packs the package. @returns the path of the tarball */
export function packPackage(): string {
  // Other suites build it, too.
  const target = 'node_modules/.cache/nestjs-meshy';
  const stdio = ['ignore', 'ignore', 'inherit'] as const;
  execFileSync('npx', ['tsx', 'package/build.ts', '--target', target], { cwd: ROOT, stdio: [...stdio] });
  const folder = join(ROOT, target);
  return join(
    folder,
    readdirSync(folder).find((file) => file.endsWith('.tgz'))!,
  );
}

export class HostApplication {
  private constructor(
    private readonly folder: string,
    private readonly kind: HostKind,
  ) {}

  static install(kind: HostKind, tarball: string): HostApplication {
    const { nest, typeorm, format, platform } = kind;
    const folder = mkdtempSync(join(tmpdir(), `shop-nest-${nest}-`));
    const fixture = join(ROOT, 'test/hosts/matrix', `nest-${nest}`);
    cpSync(fixture, folder, { recursive: true });
    cpSync(
      join(ROOT, 'test/hosts/matrix/transactional-decorators.ts'),
      join(folder, 'src/transactional-decorators.spec.ts'),
    );
    const manifest = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as Manifest;
    if (format === 'esm') manifest.type = 'module';
    else delete manifest.type;
    const added = {
      '@nestjs/cqrs': `^${nest}.0.0`,
      [`@nestjs/platform-${platform}`]: `^${nest}.0.0`,
      '@nestjs/typeorm': `^${nest}.0.0`,
      'better-sqlite3': '^12.0.0',
      'nestjs-meshy': `file:${tarball}`,
      nodemailer: '^10.0.0',
      pg: '^8.16.0',
      typeorm: `^${typeorm}.0`,
      undici: '^7.0.0',
      zod: '^4.0.0',
    };
    Object.assign(manifest.dependencies, added, nest === 11 && format === 'cjs' && OLDEST);
    manifest.devDependencies = Object.fromEntries(
      Object.entries({ ...manifest.devDependencies, ...OF_TESTS }).filter(([name]) => !UNUSED.test(name)),
    );
    writeFileSync(join(folder, 'package.json'), JSON.stringify(manifest, null, 2));
    copyShop(folder, kind);
    const host = new HostApplication(folder, kind);
    host.run('npm', ['install', '--no-audit', '--no-fund', '--prefer-offline']);
    return host;
  }

  /** Compiles it with its own settings. @throws Error with what the compiler says */
  build(): void {
    this.run('npx', ['tsc', '-p', 'tsconfig.build.json']);
  }

  /**
   * Runs its own tests, with its own runner and settings.
   * @param databases addresses of empty databases on PostgreSQL
   */
  test(databases: readonly string[]): void {
    const environment: Record<string, string> = databases.length > 0 ? { POSTGRES_URLS: databases.join() } : {};
    const runner = this.kind.nest === 12 ? ['vitest', 'run'] : ['jest', '--forceExit'];
    this.run('npx', runner, environment);
  }

  /** Runs the command line of the package. @throws Error with its output when it fails */
  meshy(...args: string[]): string {
    return this.run('npx', ['--no-install', 'meshy', ...args]);
  }

  start(database: string, environment: Record<string, string> = {}, node = process.execPath): Promise<RunningShop> {
    return RunningShop.start(this.folder, database, environment, node);
  }

  private run(program: string, args: readonly string[], environment: Record<string, string> = {}): string {
    try {
      // Without the options of our own Jest.
      const env = { ...process.env, NODE_OPTIONS: '', JEST_WORKER_ID: undefined, NODE_ENV: undefined, ...environment };
      return execFileSync(program, args, { cwd: this.folder, encoding: 'utf8', stdio: 'pipe', env });
    } catch (error) {
      const { stdout, stderr } = error as { stdout: string; stderr: string };
      throw new Error(`${program} ${args.join(' ')} failed:\n${stdout}${stderr}`, { cause: error });
    }
  }
}

/** Copies the modules of the shop into the sources of an application. */
function copyShop(folder: string, { format, platform }: HostKind): void {
  const source = join(folder, 'src');
  cpSync(join(ROOT, 'test/shop'), source, { recursive: true });
  if (platform === 'fastify') {
    const code = readFileSync(join(source, 'platform.ts'), 'utf8');
    writeFileSync(join(source, 'platform.ts'), code.replaceAll('express', 'fastify').replaceAll('Express', 'Fastify'));
  }
  if (format === 'esm') return;
  // As `nest new` writes imports in CommonJS.
  for (const file of readdirSync(source)) {
    const path = join(source, file);
    writeFileSync(path, readFileSync(path, 'utf8').replace(/(from '\.\/[^']*)\.js'/g, "$1'"));
  }
}

/** The options of the shop's data source. */
function optionsOf(url: string): DataSourceOptions {
  const path = url.replace(/^sqlite:/, '');
  return path === url ? { type: 'postgres', url } : { type: 'better-sqlite3', database: path, enableWAL: true };
}

export interface OrderView {
  readonly order: { id: string; item: string; status: string } | null;
  readonly shipment: { carrier: string; deliveries: number } | null;
}

/** The shop in a process of its own. */
export class RunningShop {
  private constructor(
    private readonly process: ChildProcess,
    readonly url: string,
    private readonly output: () => string,
  ) {}

  static async start(
    folder: string,
    database: string,
    environment: Record<string, string>,
    node: string,
  ): Promise<RunningShop> {
    const child = spawn(node, ['dist/main.js'], {
      cwd: folder,
      env: { ...process.env, NODE_OPTIONS: '', SHOP_DATABASE: JSON.stringify(optionsOf(database)), ...environment },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let output = '';
    const port = await new Promise<string>((resolve, reject) => {
      const read = (chunk: Buffer) => {
        output += chunk.toString();
        const found = /listening on \S+:(\d+)/.exec(output)?.[1];
        if (found) resolve(found);
      };
      child.stdout.on('data', read);
      child.stderr.on('data', read);
      child.once('exit', (code) => reject(new Error(`The shop exited with code ${code}:\n${output}`)));
    });
    return new RunningShop(child, `http://127.0.0.1:${port}`, () => output);
  }

  /** A request to the shop's own routes. */
  async call(method: string, path: string, body?: object): Promise<{ status: number; body: unknown }> {
    const headers = { 'content-type': 'application/json', 'x-api-key': 'secret' };
    const reply = await fetch(`${this.url}/api${path}`, {
      method,
      headers,
      ...(body && { body: JSON.stringify(body) }),
    });
    return { status: reply.status, body: await reply.json() };
  }

  order(id: string, item = 'tea', more: object = {}): Promise<{ status: number; body: unknown }> {
    return this.call('POST', '/orders', { id, item, email: `${id}@example.com`, ...more });
  }

  async find(id: string): Promise<OrderView> {
    return ((await this.call('GET', `/orders/${id}`)).body as { data: OrderView }).data;
  }

  /** A request to the routes of the mesh, outside of the prefix, the guard and the interceptor. */
  async mesh<Body = { pending: number; deadLetters: number }>(path: string): Promise<Body> {
    return (await (await fetch(`${this.url}/mesh${path}`)).json()) as Body;
  }

  /** Waits until the answer of shipping has changed the order. */
  async shipped(id: string): Promise<OrderView> {
    return eventually(
      () => this.find(id),
      ({ order }) => order?.status !== 'placed',
    );
  }

  async idle(): Promise<void> {
    await eventually(
      () => this.mesh('/outbox'),
      ({ pending }) => pending === 0,
    ).catch((error: Error) => {
      throw new Error(`${error.message}\n${this.output()}`, { cause: error });
    });
  }

  /** @returns the signal that ended it, as Nest ends a process after its hooks, else the exit code */
  async end(signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<string | number | null> {
    const { process: child } = this;
    if (child.exitCode === null && !child.signalCode) {
      child.kill(signal);
      await once(child, 'exit');
    }
    return child.signalCode ?? child.exitCode;
  }
}
