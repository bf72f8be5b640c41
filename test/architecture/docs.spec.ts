import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join, posix } from 'node:path';
import { ROOT } from '../../tools/source.js';

/** Folders of this repository. A path in a page begins with one of them. */
const FOLDERS = ['src', 'test', 'tools', 'migrations', 'docs', 'deploy', 'workshop', 'bench', 'faults'];
/** A match after `/`, `-` or a letter would be part of a URL, of `dist/src/main.js` or of another repository. */
const PATH = new RegExp(`(?<![\\w./-])(?:${FOLDERS.join('|')})/(?:[\\w./*-]|<[\\w-]+>)*`, 'g');
const LINK = /\]\(([^)\s]+)\)/g;
const MAX_GLOSSARY_ENTRIES = 40;

/** The files that a page may refer to. */
interface Tree {
  exists(path: string): boolean;
  read(path: string): string;
  list(folder: string): string[];
}

const repository: Tree = {
  exists: (path) => existsSync(join(ROOT, path)),
  read: (path) => readFileSync(join(ROOT, path), 'utf8'),
  list: (folder) => {
    const path = join(ROOT, folder);
    return existsSync(path) && statSync(path).isDirectory() ? readdirSync(path) : [];
  },
};

const inFolder = (folder: string) =>
  repository
    .list(folder)
    .filter((name) => name.endsWith('.md'))
    .map((name) => `${folder}/${name}`);
const PAGES = [
  'README.md',
  'CONTRIBUTING.md',
  'CHANGELOG.md',
  'SECURITY.md',
  ...inFolder('docs'),
  ...inFolder('docs/adr'),
];

/** Paths in the page that the repository doesn't have. `<module>` and `*` stand for any name. */
function missingPaths(tree: Tree, page: string): string[] {
  const named = [...tree.read(page).matchAll(PATH)].map(([path]) => path.replace(/[./]+$/, ''));
  return [...new Set(named)].filter((path) => !matches(tree, '', path.split('/')));
}

/** Whether the rest of a path exists in `folder`. */
function matches(tree: Tree, folder: string, [name, ...rest]: string[]): boolean {
  if (name === undefined) return true;
  const below = (it: string) => posix.join(folder, it);
  if (!/[<*]/.test(name)) return tree.exists(below(name)) && matches(tree, below(name), rest);
  const literal = (text: string) => text.replace(/[.]/g, '\\.');
  const pattern = new RegExp(
    `^${name
      .split(/<[\w-]+>|\*/)
      .map(literal)
      .join('.+')}$`,
  );
  return tree.list(folder || '.').some((it) => pattern.test(it) && matches(tree, below(it), rest));
}

/** Links of the page to files or headings that don't exist. */
function brokenLinks(tree: Tree, page: string): string[] {
  const links = [...withoutCode(tree.read(page)).matchAll(LINK)].map(([, link]) => link!);
  return links.filter((link) => !/^[a-z]+:/.test(link) && !resolves(tree, page, link));
}

function resolves(tree: Tree, page: string, link: string): boolean {
  const [path = '', heading] = link.split('#');
  const target = path === '' ? page : posix.join(posix.dirname(page), path);
  if (!tree.exists(target)) return false;
  return heading === undefined || headings(tree.read(target)).includes(heading);
}

/** Headings as GitHub writes them in addresses. */
function headings(text: string): string[] {
  return [...withoutCode(text).matchAll(/^#+ (.+)$/gm)].map(([, heading]) =>
    heading!
      .replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  );
}

function withoutCode(text: string): string {
  return text.replace(/^```[^]*?^```$/gm, '');
}

function glossaryEntries(text: string): string[] {
  const rows = [...text.matchAll(/^\| *([^|]+?) *\|/gm)].map(([, term]) => term!);
  return rows.filter((term) => term !== 'term' && !/^-+$/.test(term));
}

/** The variables that a schema in src/config*.ts declares. */
function variables(source: string): string[] {
  return [...source.matchAll(/^ {2}([A-Z][A-Z0-9_]+):/gm)].map(([, name]) => name!);
}

describe('The pages', () => {
  it.each(PAGES)('name paths that exist: %s', (page) => {
    expect(missingPaths(repository, page)).toEqual([]);
  });

  it.each(PAGES)('link to files and headings that exist: %s', (page) => {
    expect(brokenLinks(repository, page)).toEqual([]);
  });

  it(`keep the glossary at ${MAX_GLOSSARY_ENTRIES} entries, each once and in order`, () => {
    const entries = glossaryEntries(repository.read('docs/glossary.md'));
    expect(entries.length).toBeGreaterThan(20);
    expect(entries.length).toBeLessThanOrEqual(MAX_GLOSSARY_ENTRIES);
    expect([...new Set(entries)].sort((a, b) => a.localeCompare(b, 'en'))).toEqual(entries);
  });

  it('explain every environment variable in the README', () => {
    const sources = repository.list('src').filter((name) => /^config.*\.ts$/.test(name));
    const names = sources.flatMap((name) => variables(repository.read(`src/${name}`)));
    expect(names.length).toBeGreaterThan(20);
    const readme = repository.read('README.md');
    expect(names.filter((name) => !readme.includes(`\`${name}\``))).toEqual([]);
  });

  it.each(inFolder('docs/adr'))('give context, decision and consequences: %s', (page) => {
    const parts = [...repository.read(page).matchAll(/^\*\*(Context|Decision|Consequences)\.\*\*/gm)];
    expect(parts.map(([, part]) => part)).toEqual(['Context', 'Decision', 'Consequences']);
  });
});

describe('The check of the pages', () => {
  const files: Record<string, string> = {
    'docs/here.md': '# A `b`: c\n\n## 1. Two words',
    'src/modules/kitchen/contract.ts': '',
    'migrations/kitchen/0001-tables.ts': '',
  };
  /** A small repository with this text as one of its pages. */
  const withPage = (text: string): Tree => {
    const all: Record<string, string> = { ...files, 'docs/planted.md': text };
    const children = (folder: string) =>
      Object.keys(all).flatMap((path) => (path.startsWith(`${folder}/`) ? [path.slice(folder.length + 1)] : []));
    return {
      exists: (path) => path in all || children(path).length > 0,
      read: (path) => all[path]!,
      list: (folder) => [...new Set(children(folder).map((path) => path.split('/')[0]!))],
    };
  };

  it.each([
    ['`src/modules/bar/contract.ts`', 'src/modules/bar/contract.ts'],
    ['see src/gone.ts.', 'src/gone.ts'],
    ['[there](../src/x) `tools/none/`', 'tools/none'],
    ['`src/modules/<module>/tables.ts`', 'src/modules/<module>/tables.ts'],
    ['`migrations/<module>/<timestamp>-<what>.sql`', 'migrations/<module>/<timestamp>-<what>.sql'],
    ['```sh\nkubectl apply -k deploy/none\n```', 'deploy/none'],
  ])('finds a missing path in %j', (text, path) => {
    expect(missingPaths(withPage(text), 'docs/planted.md')).toEqual([path]);
  });

  it.each([
    '`src/modules/<module>/contract.ts`',
    '`src/modules/kitchen/`, `migrations/<module>/`, `migrations/<module>/<timestamp>-<what>.ts`',
    '`src/modules/*/contract.ts`',
    'https://example.org/docs/none and dist/src/main.js and ../other/src/none.ts',
  ])('accepts %j', (text) => {
    expect(missingPaths(withPage(text), 'docs/planted.md')).toEqual([]);
  });

  it.each(['[a](gone.md)', '[a](here.md#none)', '[a](#none)', '![a](none.svg)', '[a](../docs/gone.md)'])(
    'finds the broken link %s',
    (text) => {
      expect(brokenLinks(withPage(text), 'docs/planted.md')).toHaveLength(1);
    },
  );

  it.each(['[a](here.md)', '[a](here.md#a-b-c)', '[a](here.md#1-two-words)', '[a](https://example.org/x.md)'])(
    'accepts the link %s',
    (text) => {
      expect(brokenLinks(withPage(text), 'docs/planted.md')).toEqual([]);
    },
  );

  it('counts the entries of a glossary and the variables of the configuration', () => {
    expect(glossaryEntries('| term | meaning |\n| --- | --- |\n| Inbox | … |\n| Outbox | … |')).toEqual([
      'Inbox',
      'Outbox',
    ]);
    expect(variables('const a = {\n  PORT: count,\n  K_SINK: url,\n};')).toEqual(['PORT', 'K_SINK']);
  });
});
