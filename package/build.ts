import { execFileSync } from 'node:child_process';
import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { nodeResolve } from '@rollup/plugin-node-resolve';
import { rollup, type OutputOptions, type Plugin } from 'rollup';
import { runCommand } from '../tools/command-line.js';

/* Both builds are whole: Jest in a CommonJS application can't load ES modules, nor CommonJS that requires those of Nest 12. */

const USAGE = `npm run package -- [options]

  Compiles the library for import and for require into a folder, and packs it.

  --target FOLDER   replaced; default dist-package
  --no-pack         makes no tarball`;

const options = {
  'no-pack': { type: 'boolean', default: false },
  target: { type: 'string', default: 'dist-package' },
} as const;

interface Manifest {
  readonly peerDependencies: Record<string, string>;
  readonly optional: readonly string[];
  readonly [field: string]: unknown;
}

const ROOT = fileURLToPath(new URL('..', import.meta.url));
/** Small packages that exist as ES modules only, so that `require` needs them inside. */
const BUNDLED = ['uuid', 'p-retry', 'is-network-error'];
/** `cloudevents` for its types, `yaml` for manifests. */
const DEPENDENCIES = { cloudevents: '^10.0.0', yaml: '^2.0.0' };
/** The command line: a program, not an entry to import. */
const PROGRAM = 'meshy';

/** The pages of the documentation that are for adopters. */
const PAGES = ['adopting.md', 'coming-from.md'];

const entries = readdirSync(join(ROOT, 'package'))
  .filter((file) => file.endsWith('.ts') && file !== 'build.ts')
  .map((file) => file.slice(0, -'.ts'.length))
  .filter((name) => name !== PROGRAM);

async function buildPackage(target: string): Promise<void> {
  const build = join(target, '.build');
  rmSync(target, { recursive: true, force: true });
  const compiler = join(ROOT, 'node_modules/.bin/tsc');
  execFileSync(compiler, ['-p', 'tsconfig.package.json', '--outDir', build], { cwd: ROOT, stdio: 'inherit' });
  await bundle(build, target);
  for (const [format, type] of [
    ['esm', 'module'],
    ['cjs', 'commonjs'],
  ] as const) {
    cpSync(build, join(target, 'types', format), { recursive: true, filter: (path) => !/\.js(\.map)?$/.test(path) });
    for (const folder of [format, `types/${format}`]) writeJson(join(target, folder, 'package.json'), { type });
  }
  rmSync(build, { recursive: true });
  writeJson(join(target, 'package.json'), manifest());
  for (const file of ['LICENSE', 'CHANGELOG.md']) cpSync(join(ROOT, file), join(target, file));
  execFileSync(join(ROOT, 'node_modules/.bin/vite'), ['build', 'console', '--logLevel', 'warn'], {
    cwd: ROOT,
    stdio: 'inherit',
  });
  cpSync(join(ROOT, 'console/dist'), join(target, 'console'), { recursive: true });
  cpSync(join(ROOT, 'package/README.md'), join(target, 'README.md'));
  for (const page of PAGES) cpSync(join(ROOT, 'docs', page), join(target, 'docs', page));
}

async function bundle(build: string, target: string): Promise<void> {
  const options: OutputOptions = { sourcemap: true, chunkFileNames: '[name]-[hash].js', generatedCode: 'es2015' };
  await bundleAs(build, [...entries, PROGRAM], { ...options, format: 'es', dir: join(target, 'esm') });
  // import() of an optional package becomes require(), which Jest can follow.
  await bundleAs(build, entries, { ...options, format: 'cjs', dir: join(target, 'cjs'), dynamicImportInCjs: false });
}

async function bundleAs(build: string, names: readonly string[], output: OutputOptions): Promise<void> {
  const bundled = await rollup({
    input: Object.fromEntries(names.map((name) => [name, join(build, 'package', `${name}.js`)])),
    external: (id) => /^(node:)?[@\w]/.test(id) && !BUNDLED.some((name) => id === name || id.startsWith(`${name}/`)),
    plugins: [
      nodeResolve({ exportConditions: ['node'] }),
      { name: 'source maps', load: withSourceMap(build) },
      FILE_URL,
    ],
    onwarn: ({ code, message }) => {
      // The helper for decorators that the compiler writes asks for `this`.
      if (code !== 'THIS_IS_UNDEFINED') throw new Error(message);
    },
  });
  await bundled.write(output);
  await bundled.close();
}

/** Rollup's own form of `import.meta.url` for require takes a Jest with jsdom for a browser. */
const FILE_URL: Plugin = {
  name: 'import.meta.url',
  resolveImportMeta: (property, { format }) =>
    property === 'url' && format === 'cjs' ? `require('node:url').pathToFileURL(__filename).href` : null,
};

/** Rollup doesn't look for the source map of a file itself. */
const withSourceMap = (build: string) => (path: string) =>
  path.startsWith(build) ? { code: readFileSync(path, 'utf8'), map: readFileSync(`${path}.map`, 'utf8') } : null;

function manifest(): object {
  const { optional, ...fields } = JSON.parse(readFileSync(join(ROOT, 'package/manifest.json'), 'utf8')) as Manifest;
  const types = (format: string, name: string) => `./types/${format}/package/${name}.d.ts`;
  const exported = (name: string) => ({
    import: { types: types('esm', name), default: `./esm/${name}.js` },
    require: { types: types('cjs', name), default: `./cjs/${name}.js` },
  });
  const paths = entries.map((name): [string, object] => [name === 'index' ? '.' : `./${name}`, exported(name)]);
  const inner = entries.filter((name) => name !== 'index');
  return {
    ...fields,
    exports: { ...Object.fromEntries(paths), './package.json': './package.json' },
    // For `moduleResolution: node`, which doesn't know `exports`.
    typesVersions: { '*': Object.fromEntries(inner.map((name): [string, string[]] => [name, [types('cjs', name)]])) },
    bin: { [PROGRAM]: `./esm/${PROGRAM}.js` },
    dependencies: DEPENDENCIES,
    peerDependenciesMeta: Object.fromEntries(optional.map((name) => [name, { optional: true }])),
  };
}

function writeJson(path: string, value: object): void {
  writeFileSync(path, `${JSON.stringify(value, null, 2)}\n`);
}

await runCommand({ usage: USAGE, options }, async ({ target, 'no-pack': isUnpacked }) => {
  const folder = join(ROOT, target);
  await buildPackage(folder);
  if (isUnpacked) return;
  execFileSync('npm', ['pack', '--silent', '--pack-destination', '.'], { cwd: folder, stdio: 'inherit' });
});
