import ts from 'typescript';
import { decoratorsOf, importsOf, nodes, parse, placeInModules, type Sources } from './source.js';

/*
 * The rules of the architecture, over {path -> text}, so that tests can plant violations. Modules, tables, messages and
 * domain files are found in the sources: adding a module changes nothing here.
 */

/** @returns the violations, each as `path: violation` */
export type Rule = (sources: Sources) => string[];

interface File {
  readonly path: string;
  readonly tree: ts.SourceFile;
  /** The folder under src/modules, if it is in one. */
  readonly module?: string;
  /** The path within the module. */
  readonly file: string;
}

function filesOf(sources: Sources, under = 'src/'): File[] {
  return [...sources]
    .filter(([path]) => path.startsWith(under))
    .map(([path, text]) => ({ path, tree: parse(path, text), file: path, ...placeInModules(path) }));
}

const inModules = (sources: Sources) => filesOf(sources, 'src/modules/');
const modulesOf = (sources: Sources) => new Set(inModules(sources).flatMap(({ module }) => module ?? []));
const inInfrastructure = (path: string) => path.startsWith('src/infrastructure/');

export const contractsOnly: Rule = (sources) =>
  filesOf(sources).flatMap(({ path, tree, module }) =>
    importsOf(tree).flatMap((target) => {
      if (target === undefined) return module ? [`${path}: imports something that is known at run time only`] : [];
      const other = placeInModules(target);
      // The composition of the application, src/app.module.ts, imports the Nest modules themselves.
      const isComposition = !module && other?.file === `${other?.module}.module.ts`;
      if (other && other.module !== module && other.file !== 'contract.ts' && !isComposition) {
        return [`${path}: imports ${other.file} of ${other.module}; other modules may import its contract.ts only`];
      }
      if (module && target === 'src/app.module.ts') return [`${path}: imports the application, of which it is a part`];
      return [];
    }),
  );

/** A contract imports only other contracts and infrastructure. */
export const contractsStandAlone: Rule = (sources) =>
  inModules(sources)
    .filter(({ file }) => file === 'contract.ts')
    .flatMap(({ path, tree }) =>
      importsOf(tree)
        .filter((target) => target?.startsWith('src/') && !inInfrastructure(target))
        .filter((target) => placeInModules(target!)?.file !== 'contract.ts')
        .map((target) => `${path}: a contract imports ${target}, which is private`),
    );

const PAST_THE_UNIT = new Set([
  'InjectRepository',
  'InjectDataSource',
  'InjectEntityManager',
  'getRepositoryToken',
  'getDataSourceToken',
  'DataSource',
  'CqrsModule',
]);

export const throughTheUnitOnly: Rule = (sources) =>
  inModules(sources).flatMap(({ path, tree }) => {
    const problems = importsOf(tree).includes('@nestjs/typeorm') ? [`${path}: imports @nestjs/typeorm`] : [];
    for (const node of nodes(tree)) {
      const name = ts.isIdentifier(node) || ts.isStringLiteralLike(node) ? node.text : '';
      if (PAST_THE_UNIT.has(name)) problems.push(`${path}: mentions ${name}; use the unit of work`);
      // As a property: with a dot, in brackets, or destructured.
      if ((name === 'dataSource' || name === 'connection') && isPropertyName(node)) {
        problems.push(`${path}: uses .${name}, past the fence of the unit of work`);
      }
    }
    return problems;
  });

function isPropertyName(node: ts.Node): boolean {
  const { parent } = node;
  if (ts.isPropertyAccessExpression(parent)) return parent.name === node;
  if (ts.isElementAccessExpression(parent)) return parent.argumentExpression === node;
  return ts.isBindingElement(parent) && (parent.propertyName ?? parent.name) === node;
}

/** The prefix of a table is its module. The next rule tells from it which module owns a table. */
export const ownPrefix: Rule = (sources) =>
  inModules(sources).flatMap(({ path, tree, module }) => {
    const problems: string[] = [];
    for (const node of nodes(tree)) {
      for (const { name, call } of decoratorsOf(node)) {
        const named = call?.arguments[0];
        if (name === 'MeshFeature' && propertyText(named, 'name') !== module) {
          problems.push(`${path}: the module in ${module}/ has another name on the mesh`);
        }
        const table = named && ts.isStringLiteralLike(named) ? named.text : '';
        if (name === 'Entity' && !table.startsWith(`${module}_`)) {
          problems.push(`${path}: the table ${table || 'without a name'} doesn't begin with ${module}_`);
        }
      }
      const [ddl] = /\b(CREATE|ALTER|DROP)\s+(UNIQUE\s+)?(TABLE|INDEX)\b/i.exec(textOf(node)) ?? [];
      if (ddl) problems.push(`${path}: says ${ddl}; statements that change tables belong to migrations/${module}/`);
    }
    return problems;
  });

export const ownTablesOnly: Rule = (sources) => {
  const modules = modulesOf(sources);
  const entities = new Map<string, Set<string>>();
  for (const { tree, module } of inModules(sources)) {
    for (const node of nodes(tree)) {
      const isEntity = ts.isClassDeclaration(node) && decoratorsOf(node).some(({ name }) => name === 'Entity');
      if (!isEntity || !node.name) continue;
      entities.set(node.name.text, (entities.get(node.name.text) ?? new Set()).add(module!));
    }
  }
  return inModules(sources).flatMap(({ path, tree, module }) => {
    const foreign = [...modules, 'mesh'].filter((it) => it !== module);
    const table = new RegExp(`(?<![A-Za-z0-9])(${foreign.join('|')})_\\w*`, 'i');
    const problems: string[] = [];
    for (const node of nodes(tree)) {
      const word = textOf(node) || (ts.isIdentifier(node) ? node.text : '');
      const name = table.exec(word)?.[0];
      if (name) problems.push(`${path}: names ${name}, a table of another owner`);
      const owners = ts.isStringLiteralLike(node) ? entities.get(node.text) : undefined;
      if (owners && !owners.has(module!))
        problems.push(`${path}: names '${node.getText()}', an entity of another module`);
    }
    return problems;
  });
};

export const infrastructureStandsAlone: Rule = (sources) =>
  filesOf(sources, 'src/infrastructure/').flatMap(({ path, tree }) =>
    importsOf(tree)
      .filter((target) => target === undefined || (isOfProject(target) && !inInfrastructure(target)))
      .map(
        (target) =>
          `${path}: imports ${target ?? 'something that is known at run time only'}; infrastructure is a library`,
      ),
  );

function isOfProject(target: string): boolean {
  return /^(src|migrations|test|tools|workshop|bench|faults)\//.test(target);
}

/**
 * Names of modules that are also words of infrastructure: a database has a driver and clients. They are allowed, unless
 * an id follows (`driverId`), which stands for a person.
 */
const HOMONYMS = new Set(['driver', 'client']);

/**
 * Infrastructure says neither the name of the application or of a module, nor the name or type of a message. Words of
 * table names are allowed: a module may well have a table `<module>_event` or `<module>_key`.
 */
export const infrastructureKnowsNoTrade: Rule = (sources) => {
  const messages = messagesOf(sources);
  const nouns = [...modulesOf(sources), ...messages.map(({ type }) => type.split('.')[0]!)];
  const plain = [...new Set(nouns)].filter((it) => !HOMONYMS.has(singular(it)));
  const names = messages.flatMap(({ name, type }) => [name, type, type.split('.')[2] ?? type]);
  const withId = new RegExp(`\\b(${[...HOMONYMS].join('|')})[-_ ]?ids?\\b`, 'i');
  return [...sources]
    .filter(([path]) => inInfrastructure(path))
    .flatMap(([path, text]) => {
      const words = new Set(text.split(/[^A-Za-z]+|(?<=[a-z])(?=[A-Z])/).map((it) => singular(it.toLowerCase())));
      const found = plain.filter((noun) => words.has(singular(noun)));
      found.push(...names.filter((name) => new RegExp(`\\b${name}\\b`).test(text)));
      const id = withId.exec(text)?.[0];
      return [...found, ...(id ? [id] : [])].map((word) => `${path}: says '${word}', a word of this application`);
    });
};

function singular(noun: string): string {
  return noun
    .replace(/ies$/, 'y')
    .replace(/(sh|ch|x|ss)es$/, '$1')
    .replace(/([^s])s$/, '$1');
}

/**
 * Domain files: neither a contract, nor imported by the module's file, nor with a decorator in them. Nest and TypeORM know
 * a class by its decorators or from the module, so a domain file needs neither of them.
 */
export function domainFiles(sources: Sources): string[] {
  const files = inModules(sources);
  const wired = new Set(files.flatMap((it) => (it.file === `${it.module}.module.ts` ? importsOf(it.tree) : [])));
  const isPlain = ({ path, file, tree }: File) =>
    file !== 'contract.ts' && !wired.has(path) && ![...nodes(tree)].some((node) => decoratorsOf(node).length > 0);
  return files.filter(isPlain).map(({ path }) => path);
}

export const domainIsPlain: Rule = (sources) => {
  const domain = new Set(domainFiles(sources));
  const isForeign = (target: string | undefined) => {
    if (target === undefined || /^(@nestjs\/|typeorm(\/|$))/.test(target)) return true;
    const isOurs = target.startsWith('src/');
    return isOurs && !domain.has(target) && placeInModules(target)?.file !== 'contract.ts';
  };
  return inModules(sources)
    .filter(({ path }) => domain.has(path))
    .flatMap(({ path, tree }) =>
      importsOf(tree)
        .filter(isForeign)
        .map(
          (target) => `${path}: a domain file imports ${target}; it needs neither Nest nor TypeORM nor infrastructure`,
        ),
    );
};

/** A module with more files may have folders. */
const MAX_FLAT_FILES = 15;

export const flatAndNamed: Rule = (sources) => {
  const sizes = new Map<string, number>();
  for (const { module } of inModules(sources)) sizes.set(module!, (sizes.get(module!) ?? 0) + 1);
  return [...sources.keys()].flatMap((path) => {
    const name = path.split('/').at(-1)!;
    const problems: string[] = [];
    if (name === 'index.ts') problems.push(`${path}: a barrel`);
    if (/^(utils?|helpers?|common|shared|misc)\b/.test(name)) problems.push(`${path}: a name that says nothing`);
    const { module, file } = placeInModules(path) ?? {};
    if (module && file!.includes('/') && sizes.get(module)! <= MAX_FLAT_FILES) {
      problems.push(`${path}: a folder in a module of at most ${MAX_FLAT_FILES} files`);
    }
    return problems;
  });
};

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

/** The durable messages that are declared in modules, with where. */
export function messagesOf(sources: Sources): { path: string; module: string; name: string; type: string }[] {
  return inModules(sources).flatMap(({ path, tree, module }) =>
    [...nodes(tree)].flatMap((node) => {
      if (!ts.isCallExpression(node) || !/^durable(Command|Event)$/.test(node.expression.getText())) return [];
      const [type] = node.arguments;
      let parent: ts.Node = node;
      while (parent && !ts.isClassDeclaration(parent)) parent = parent.parent;
      const name = (parent as ts.ClassDeclaration | undefined)?.name?.text ?? 'a class without a name';
      return [{ path, module: module!, name, type: type && ts.isStringLiteralLike(type) ? type.text : '' }];
    }),
  );
}

export const messageTypes =
  (application: string): Rule =>
  (sources) => {
    const messages = messagesOf(sources);
    return messages.flatMap(({ path, module, name, type }) => {
      const problems: string[] = [];
      const isWellNamed = new RegExp(`^${application}\\.${module}\\.[a-z]+(-[a-z]+)*$`).test(type);
      if (!isWellNamed)
        problems.push(`${path}: the type of ${name} is '${type}', not ${application}.${module}.<kebab-case>`);
      if (!path.endsWith('/contract.ts')) problems.push(`${path}: ${name} is durable and stands outside the contract`);
      const other = messages.find((it) => it.type === type && it.name !== name);
      if (other) problems.push(`${path}: ${name} has the type of ${other.name}, ${type}`);
      return problems;
    });
  };

/** What a string or template says; nothing for other nodes. */
function textOf(node: ts.Node): string {
  const isText = ts.isStringLiteralLike(node) || ts.isTemplateHead(node) || ts.isTemplateMiddleOrTemplateTail(node);
  return isText ? node.text : '';
}

function propertyText(object: ts.Expression | undefined, key: string): string | undefined {
  if (!object || !ts.isObjectLiteralExpression(object)) return undefined;
  for (const property of object.properties) {
    const isIt = ts.isPropertyAssignment(property) && property.name.getText() === key;
    if (isIt && ts.isStringLiteralLike(property.initializer)) return property.initializer.text;
  }
  return undefined;
}
