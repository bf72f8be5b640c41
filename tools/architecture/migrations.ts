import ts from 'typescript';
import { importsOf, nodes, parse } from '../source.js';
import { filesOf, inModules, modulesOf, textOf, type Rule } from './rule.js';

/** The folders of migrations: the owner of each, and the file that lists its classes. */
function migrationFolder(path: string): { owner: string; list: string } | undefined {
  const [, module] = /^migrations\/([^/]+)\//.exec(path) ?? [];
  if (module) return { owner: module, list: 'migrations/histories.ts' };
  return path.startsWith('src/infrastructure/store/migrations/')
    ? { owner: 'mesh', list: 'src/infrastructure/store/migration-histories.ts' }
    : undefined;
}

/** One migration per file, by its timestamp; it belongs to its folder, and changes neither with the code nor unseen. */
export const oneMigrationPerFile: Rule = (sources) => {
  const modules = modulesOf(sources);
  const files = [...filesOf(sources, 'migrations/'), ...filesOf(sources, 'src/infrastructure/store/migrations/')];
  return files.flatMap(({ path, tree }) => {
    if (path === 'migrations/histories.ts') return [];
    const folder = migrationFolder(path);
    if (!folder) return [`${path}: a migration belongs into migrations/<module>/`];
    const { owner, list } = folder;
    const problems: string[] = [];
    if (owner !== 'mesh' && !modules.has(owner)) problems.push(`${path}: there is no module ${owner}`);
    const [, timestamp] = /\/(\d{13})-[a-z0-9]+(-[a-z0-9]+)*\.ts$/.exec(path) ?? [];
    if (!timestamp) problems.push(`${path}: is not called <timestamp of 13 digits>-<what-it-does>.ts`);
    const classes = [...nodes(tree)].filter((it) => ts.isClassDeclaration(it));
    if (classes.length !== 1) problems.push(`${path}: has ${classes.length} classes instead of one`);
    for (const it of classes) {
      const name = it.name?.text ?? '';
      if (!name.endsWith(timestamp ?? '')) problems.push(`${path}: the class ${name} doesn't end in ${timestamp}`);
      const isMigration = it.heritageClauses?.some((clause) => clause.getText() === 'implements MigrationInterface');
      if (!isMigration) problems.push(`${path}: the class ${name} doesn't implement MigrationInterface`);
      if (classNameOf(it) !== undefined && classNameOf(it) !== name) {
        problems.push(`${path}: the class ${name} is called ${classNameOf(it)} in the history`);
      }
    }
    for (const target of importsOf(tree).filter((it) => it !== 'typeorm')) {
      problems.push(`${path}: imports ${target}; a migration must not change when other code does`);
    }
    const listed = sources.has(list) ? importsOf(parse(list, sources.get(list)!)) : [];
    if (!listed.includes(path)) problems.push(`${path}: is not in ${list}, so it would never run`);
    return problems;
  });
};

/** The value of the property `name`, under which TypeORM lists a migration. */
function classNameOf(migration: ts.ClassDeclaration): string | undefined {
  for (const member of migration.members) {
    const isName = ts.isPropertyDeclaration(member) && member.name.getText() === 'name';
    if (isName && member.initializer && ts.isStringLiteralLike(member.initializer)) return member.initializer.text;
  }
  return undefined;
}

/** Words behind which SQL names a table. */
const BEFORE_TABLE =
  /\b(?:TABLE(?:\s+IF(?:\s+NOT)?\s+EXISTS)?|INTO|FROM|JOIN|UPDATE|REFERENCES|INDEX\s+\w+\s+ON)\s+"?([a-z_]\w*)/gi;

export const migrationsOfOwnTables: Rule = (sources) => {
  const modules = [...modulesOf(sources), 'mesh'];
  const files = [...filesOf(sources, 'migrations/'), ...filesOf(sources, 'src/infrastructure/store/migrations/')];
  return files.flatMap(({ path, tree }) => {
    const owner = migrationFolder(path)?.owner;
    if (!owner) return [];
    const foreign = new RegExp(`(?<![A-Za-z0-9])(${modules.filter((it) => it !== owner).join('|')})_\\w*`, 'gi');
    const named = [...nodes(tree)].flatMap((node) => {
      const text = textOf(node);
      const tables = [...text.matchAll(BEFORE_TABLE)].map(([, table]) => table!);
      const others = tables.filter((it) => !it.startsWith(`${owner}_`) && !/^(set|select)$/i.test(it));
      return [...others, ...[...text.matchAll(foreign)].map(([table]) => table)];
    });
    return [...new Set(named)].map((table) => `${path}: names ${table}, which is no table of ${owner}`);
  });
};

export const modulesKnowNoMigrations: Rule = (sources) =>
  inModules(sources).flatMap(({ path, tree }) =>
    importsOf(tree)
      .filter((target) => target?.startsWith('migrations/'))
      .map((target) => `${path}: imports ${target}; src/app.module.ts hands the migrations to the mesh`),
  );
