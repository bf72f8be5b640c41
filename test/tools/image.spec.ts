import 'reflect-metadata';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { MODULE_NAMES } from '../../src/app.module.js';
import { readConfig } from '../../src/config.js';
import { ROOT } from '../../tools/source.js';
import { objectsOf, VARIANTS } from '../support/manifests.js';

/** The containers of a variant's Services. */
const containersOf = (variant: string) =>
  objectsOf(variant, 'Service').map(({ spec }) => spec.template.spec.containers[0]);

const dockerfile = readFileSync(join(ROOT, 'Dockerfile'), 'utf8')
  .replace(/^#.*\n/gm, '')
  .replace(/\\\n\s*/g, '');
const [build, last, ...more] = dockerfile.split(/^FROM /m).slice(1) as [string, string];

/** The values of an instruction in a stage. */
const valuesOf = (stage: string, instruction: string) =>
  [...stage.matchAll(new RegExp(`^${instruction} (.+)$`, 'gm'))].map(([, value]) => value!);

/** The commands of the build. */
const commands = valuesOf(build, 'RUN').flatMap((line) => line.split(/\s*&& /));

/** The variables that the image sets. */
const environment = Object.fromEntries(
  valuesOf(last, 'ENV').flatMap((line) => line.split(' ').map((it) => it.split(/=(.*)/).slice(0, 2))),
) as Record<string, string>;

async function run(command: string[], env: Record<string, string>) {
  const child = spawn(process.execPath, command, {
    cwd: ROOT,
    env: { PATH: process.env.PATH, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => (output += text));
  const [code] = (await once(child, 'close')) as [number];
  return { code, output };
}

describe('The image', () => {
  it('has two stages, on one base that a digest pins', () => {
    expect(more).toEqual([]);
    const [base] = last.split('\n');
    expect(base).toMatch(/^node:24-bookworm-slim@sha256:[0-9a-f]{64}$/);
    expect(build.split('\n')[0]).toBe(`${base} AS build`);
  });

  it('runs no install scripts; each is allowed or refused by name, so a new one is noticed here', () => {
    const { packages } = JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8')) as {
      packages: Record<string, { hasInstallScript?: boolean }>;
    };
    const { allowScripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
      allowScripts: Record<string, boolean>;
    };
    const withScript = Object.entries(packages).flatMap(([path, { hasInstallScript }]) =>
      hasInstallScript ? [path.replace(/^.*node_modules\//, '')] : [],
    );
    expect(withScript.filter((name) => !(name in allowScripts))).toEqual([]);
    expect(commands.filter((it) => /\bnpm rebuild\b/.test(it))).toEqual([]);
    for (const it of commands.filter((command) => /^npm (ci|install|prune)/.test(command)))
      expect(it).toContain(' --ignore-scripts ');
  });

  it('needs none: its better-sqlite3 is the one with programs inside', () => {
    const { packages } = JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8')) as {
      packages: Record<string, { version: string; integrity?: string; hasInstallScript?: boolean }>;
    };
    const { version, integrity, hasInstallScript } = packages['node_modules/better-sqlite3-13']!;
    expect({ version, integrity, hasInstallScript }).toEqual({
      version: expect.stringMatching(/^13\./),
      integrity: expect.stringMatching(/^sha512-/),
      hasInstallScript: undefined,
    });
  });

  it('has no package manager', () => {
    const removed = valuesOf(last, 'RUN').flatMap((it) => it.replace(/^rm -rf /, '').split(' '));
    for (const it of ['npm', 'npx', 'corepack', 'yarn', 'yarnpkg']) expect(removed).toContain(`/usr/local/bin/${it}`);
    expect(removed).toEqual(expect.arrayContaining(['/usr/local/lib/node_modules', '/opt/yarn-*']));
  });

  it('runs as a numeric user that is not root', () => {
    expect(valuesOf(last, 'USER')).toEqual([expect.stringMatching(/^[1-9]\d*(:[1-9]\d*)?$/)]);
    for (const { securityContext } of VARIANTS.flatMap(containersOf)) {
      expect(securityContext).toMatchObject({
        runAsNonRoot: true,
        readOnlyRootFilesystem: true,
        allowPrivilegeEscalation: false,
      });
    }
  });

  it('starts the application without a shell, so that signals reach it', () => {
    expect(valuesOf(last, 'CMD').map((it) => JSON.parse(it) as unknown)).toEqual([['node', 'dist/bundle/main.js']]);
    expect(valuesOf(last, 'ENTRYPOINT')).toEqual([]);
    expect(valuesOf(last, 'STOPSIGNAL')).toEqual(['SIGTERM']);
  });

  it("listens on the port of REST and of the mesh; a Knative Service routes the mesh's, a plain Service the other", () => {
    const { port, meshPort } = readConfig({ NODE_ENV: 'production', AUTH: 'none' }, MODULE_NAMES);
    expect(valuesOf(last, 'EXPOSE')).toEqual([`${port} ${meshPort}`]);
    for (const variant of VARIANTS) {
      for (const { ports } of containersOf(variant)) expect(ports).toEqual([{ containerPort: meshPort }]);
      for (const { spec } of objectsOf(variant, 'v1 Service')) expect(spec.ports[0].targetPort).toBe(port);
    }
  });

  it('gets only the files that the build copies', () => {
    const [everything, ...allowed] = readFileSync(join(ROOT, '.dockerignore'), 'utf8')
      .split('\n')
      .filter((it) => /^[^#]/.test(it));
    const copied = valuesOf(build, 'COPY').flatMap((paths) => paths.split(' ').slice(0, -1));
    expect(everything).toBe('*');
    expect(allowed.map((it) => it.slice(1)).sort()).toEqual(copied.sort());
  });

  // Node 22.21 and 24.6 brought the option.
  const flag = '--max-old-space-size-percentage';
  const itWithFlag = process.allowedNodeEnvironmentFlags.has(flag) ? it : it.skip;

  it('limits the heap to three quarters of the memory of its container', () => {
    expect(environment).toEqual({ NODE_ENV: 'production', NODE_OPTIONS: `${flag}=75` });
  });

  itWithFlag('has a heap of that size in this process', async () => {
    const script = `
      const { getHeapStatistics } = process.getBuiltinModule('v8');
      const { totalmem } = process.getBuiltinModule('os');
      const memory = process.constrainedMemory();
      console.log(getHeapStatistics().heap_size_limit / Math.min(memory || Infinity, totalmem()));`;
    const { code, output } = await run(['-e', script], environment);
    expect({ code, output }).toMatchObject({ code: 0 });
    // The young generation comes on top.
    expect(Number(output)).toBeGreaterThan(0.74);
    expect(Number(output)).toBeLessThan(0.9);
  });
});

describe('The health check of the image', () => {
  const [, options, command] = /^(.*?) CMD (.+)$/.exec(valuesOf(last, 'HEALTHCHECK')[0]!)!;
  const [node, ...args] = JSON.parse(command!) as string[];
  const check = async (env: Record<string, string>) => (await run(args, env)).code;
  /** What the server answers; undefined for no answer. */
  let status: number | undefined = 200;
  const paths: string[] = [];
  const server = createServer(({ url }, response) => {
    paths.push(url!);
    if (status !== undefined) response.writeHead(status).end();
  });
  let port: string;
  beforeAll(async () => {
    await once(server.listen(0, '127.0.0.1'), 'listening');
    port = String((server.address() as AddressInfo).port);
  });
  beforeEach(() => {
    status = 200;
  });
  afterAll(() => {
    server.closeAllConnections();
    server.close();
  });

  it('is a small program of the image', () => {
    expect([node, ...args]).toEqual(['node', 'dist/src/health-check.js']);
    expect(options).toBe('--interval=30s --timeout=5s --start-period=30s');
  });

  it.each([
    ['PORT only', () => ({ PORT: port })],
    ['PORT and MESH_PORT', () => ({ PORT: port, MESH_PORT: '1' })],
    ["the mesh's port in PORT, as Knative sets it, and REST_PORT", () => ({ PORT: '1', REST_PORT: port })],
    ['an empty REST_PORT', () => ({ PORT: port, REST_PORT: '' })],
  ])('asks the process on the port of REST, with %s', async (_, env) => {
    paths.length = 0;
    expect(await check(env())).toBe(0);
    expect(paths).toEqual(['/health/live']);
    expect(String(readConfig({ ...env(), NODE_ENV: 'test' }, []).port)).toBe(port);
  });

  it('asks on the default port when only MESH_PORT is set', () => {
    const source = readFileSync(join(ROOT, 'src/health-check.ts'), 'utf8');
    const { port: byDefault } = readConfig({ MESH_PORT: '8082' }, []);
    expect(source).toContain(`process.env.REST_PORT || process.env.PORT || '${byDefault}'`);
  });

  it('fails for another answer, for none within 5 s, and without a server', async () => {
    status = 503;
    expect(await check({ PORT: port })).toBe(1);
    status = undefined;
    const started = Date.now();
    expect(await check({ PORT: port })).toBe(1);
    expect(Date.now() - started).toBeLessThan(15_000);
    expect(await check({ PORT: '1' })).toBe(1);
  });
});
