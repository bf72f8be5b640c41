import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Database } from '../../src/infrastructure/persistence/database.js';
import { meshMigrations } from '../../src/infrastructure/store/migration-histories.js';
import { importsOf, parse, readSources, ROOT } from '../../tools/source.js';
import { DATABASES } from '../support/databases.js';

const page = readFileSync(join(ROOT, 'docs/adopting.md'), 'utf8');
const withSingleSpaces = (code: string) => code.replace(/\s+/g, ' ').trim();

describe('docs/adopting.md', () => {
  it('shows the code of test/shop', () => {
    const blocks = [...page.matchAll(/```ts\n\/\/ (\S+)\n([^]*?)```/g)];
    expect(blocks.length).toBeGreaterThan(8);
    for (const [, file, code] of blocks) {
      const source = withSingleSpaces(readFileSync(join(ROOT, 'test/shop', file!), 'utf8'));
      for (const part of code!.split(/^\s*\/\/ …$/m)) expect(source).toContain(withSingleSpaces(part));
    }
  });

  it('and the README name a version of @nestjs/cqrs: npm refuses the latest beside Nest 11', () => {
    for (const text of [page, readFileSync(join(ROOT, 'package/README.md'), 'utf8')])
      expect(text.match(/^npm i .*@nestjs\/cqrs.*/m)?.[0]).toContain('@nestjs/cqrs@11');
  });

  it('and the manifest of the package name each package that the library needs', () => {
    const { peerDependencies } = JSON.parse(readFileSync(join(ROOT, 'package/manifest.json'), 'utf8')) as {
      peerDependencies: Record<string, string>;
    };
    /** Inside the package, for its types only, or only for an application that brings it. */
    const others = ['better-sqlite3-13', 'uuid', 'p-retry', 'is-network-error', 'cloudevents', 'pino'];
    const packages = [...readSources('src/infrastructure')].flatMap(([path, text]) =>
      importsOf(parse(path, text)).filter((it) => it && !/^(src|node:)/.test(it)),
    );
    const names = packages.map((it) => it!.split('/', it!.startsWith('@') ? 2 : 1).join('/'));
    expect([...new Set(names)].filter((it) => !(it in peerDependencies) && !others.includes(it))).toEqual([]);
  });

  it.each(DATABASES)('names each table that the mesh makes on $kind', async ({ kind, fresh }) => {
    const database = await Database.open({
      database: await fresh(),
      entities: [],
      histories: [meshMigrations],
      migrate: true,
    });
    const all =
      kind === 'sqlite'
        ? "SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'mesh%'"
        : "SELECT table_name AS name FROM information_schema.tables WHERE table_schema = 'public'";
    const tables = await database.read.all<{ name: string }>(all);
    await database.close();
    const named = [...page.matchAll(/`(mesh_\w+)`/g)].map(([, name]) => name!);
    const here = named.filter((name) => kind === 'postgres' || !/lease|replica/.test(name));
    expect([...new Set(here)].sort()).toEqual(tables.map(({ name }) => name).sort());
  });
});
