import { execFileSync } from 'node:child_process';
import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { nodeResolve } from '@rollup/plugin-node-resolve';
import { rollup, type OutputOptions } from 'rollup';

/*
 * `npm run package [-- --target FOLDER --no-pack]`: compiles the library for `import` and for `require` into dist-package/ and packs
 * it. Both builds are
 * whole, because Jest in a CommonJS application can't load ES modules, nor can it load CommonJS that requires those of Nest 12.
 */

interface Manifest {
  readonly peerDependencies: Record<string, string>;
  readonly optional: readonly string[];
  readonly [field: string]: unknown;
}

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const { values: OPTIONS } = parseArgs({
  options: { 'no-pack': { type: 'boolean' }, target: { type: 'string', default: 'dist-package' } },
});
const TARGET = join(ROOT, OPTIONS.target);
const BUILD = join(TARGET, '.build');
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

async function buildPackage(): Promise<void> {
  rmSync(TARGET, { recursive: true, force: true });
  const compiler = join(ROOT, 'node_modules/.bin/tsc');
  execFileSync(compiler, ['-p', 'tsconfig.package.json', '--outDir', BUILD], { cwd: ROOT, stdio: 'inherit' });
  await bundle();
  for (const [format, type] of [
    ['esm', 'module'],
    ['cjs', 'commonjs'],
  ] as const) {
    cpSync(BUILD, join(TARGET, 'types', format), { recursive: true, filter: (path) => !/\.js(\.map)?$/.test(path) });
    for (const folder of [format, `types/${format}`]) writeJson(`${folder}/package.json`, { type });
  }
  rmSync(BUILD, { recursive: true });
  writeJson('package.json', manifest());
  for (const file of ['LICENSE', 'CHANGELOG.md']) cpSync(join(ROOT, file), join(TARGET, file));
  cpSync(join(ROOT, 'package/README.md'), join(TARGET, 'README.md'));
  for (const page of PAGES) cpSync(join(ROOT, 'docs', page), join(TARGET, 'docs', page));
}

async function bundle(): Promise<void> {
  const options: OutputOptions = { sourcemap: true, chunkFileNames: '[name]-[hash].js', generatedCode: 'es2015' };
  await bundleAs([...entries, PROGRAM], { ...options, format: 'es', dir: join(TARGET, 'esm') });
  // import() of an optional package becomes require(), which Jest can follow.
  await bundleAs(entries, { ...options, format: 'cjs', dir: join(TARGET, 'cjs'), dynamicImportInCjs: false });
}

async function bundleAs(names: readonly string[], output: OutputOptions): Promise<void> {
  const build = await rollup({
    input: Object.fromEntries(names.map((name) => [name, join(BUILD, 'package', `${name}.js`)])),
    external: (id) => /^(node:)?[@\w]/.test(id) && !BUNDLED.some((name) => id === name || id.startsWith(`${name}/`)),
    plugins: [nodeResolve({ exportConditions: ['node'] }), { name: 'source maps', load: withSourceMap }],
    onwarn: ({ code, message }) => {
      // The helper for decorators that the compiler writes asks for `this`.
      if (code !== 'THIS_IS_UNDEFINED') throw new Error(message);
    },
  });
  await build.write(output);
  await build.close();
}

/** Rollup doesn't look for the source map of a file itself. */
function withSourceMap(path: string): { code: string; map: string } | null {
  if (!path.startsWith(BUILD)) return null;
  return { code: readFileSync(path, 'utf8'), map: readFileSync(`${path}.map`, 'utf8') };
}

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
  writeFileSync(join(TARGET, path), `${JSON.stringify(value, null, 2)}\n`);
}

await buildPackage();
if (!OPTIONS['no-pack'])
  execFileSync('npm', ['pack', '--silent', '--pack-destination', '.'], { cwd: TARGET, stdio: 'inherit' });
