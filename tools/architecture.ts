import ts from 'typescript';
import { decoratorsOf, importsOf, nodes, parse, placeInModules, type Sources } from './source.js';

/*
 * The rules of the house, over {path -> text}: so they can be tried on planted violations too. What there is of
 * modules, tables, messages and domain files is found in the sources; a module more or less changes nothing here.
 */

/** @returns what is wrong, each as `path: what` */
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
      if (target === undefined) return module ? [`${path}: imports something that only a run could tell`] : [];
      const other = placeInModules(target);
      // Whoever puts the application together has to name the modules themselves; src/app.module.ts does.
      const isComposition = !module && other?.file === `${other?.module}.module.ts`;
      if (other && other.module !== module && other.file !== 'contract.ts' && !isComposition) {
        return [`${path}: imports ${other.file} of ${other.module}, whose contract.ts is all that others know`];
      }
      if (module && target === 'src/app.module.ts') return [`${path}: imports the application that it is a part of`];
      return [];
    }),
  );

/** What a contract shows must not drag along what it hides. */
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
  ...['InjectRepository', 'InjectDataSource', 'InjectEntityManager', 'getRepositoryToken', 'getDataSourceToken'],
  ...['DataSource', 'CqrsModule'],
]);

export const throughTheUnitOnly: Rule = (sources) =>
  inModules(sources).flatMap(({ path, tree }) => {
    const problems = importsOf(tree).includes('@nestjs/typeorm') ? [`${path}: imports @nestjs/typeorm`] : [];
    for (const node of nodes(tree)) {
      const name = ts.isIdentifier(node) || ts.isStringLiteralLike(node) ? node.text : '';
      if (PAST_THE_UNIT.has(name)) problems.push(`${path}: mentions ${name}; a unit of work is the only way in`);
      // As a property, taken by a dot, in brackets, or apart. To read which kind of database it is, a migration may
      // say `.dataSource.options`: nothing can be written through that.
      const isReached = (name === 'dataSource' || name === 'connection') && isPropertyName(node);
      if (isReached && !isFollowedBy(node, 'options')) {
        problems.push(`${path}: reaches for .${name}, past the fence of the unit of work`);
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

function isFollowedBy(node: ts.Node, property: string): boolean {
  const { parent } = node.parent;
  return ts.isPropertyAccessExpression(parent) && parent.expression === node.parent && parent.name.text === property;
}

/** A table's name begins with its module, which is how the next rule knows whose it is. */
export const ownPrefix: Rule = (sources) =>
  inModules(sources).flatMap(({ path, tree, module }) => {
    const problems: string[] = [];
    for (const node of nodes(tree)) {
      for (const { name, call } of decoratorsOf(node)) {
        const named = call?.arguments[0];
        if (name === 'MeshFeature' && propertyText(named, 'name') !== module) {
          problems.push(`${path}: the module in ${module}/ is on the mesh by another name`);
        }
        const table = named && ts.isStringLiteralLike(named) ? named.text : '';
        if (name === 'Entity' && !table.startsWith(`${module}_`)) {
          problems.push(`${path}: the table ${table || 'without a name'} doesn't begin with ${module}_`);
        }
      }
      for (const [, table] of textOf(node).matchAll(/\bCREATE\s+TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?"?(\w*)/gi)) {
        if (!table!.startsWith(`${module}_`)) {
          problems.push(`${path}: creates the table ${table}, which doesn't begin with ${module}_`);
        }
      }
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
      if (name) problems.push(`${path}: names ${name}, a table of somebody else`);
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
      .filter((target) => target === undefined || (/^(src|test|tools)\//.test(target) && !inInfrastructure(target)))
      .map((target) => `${path}: imports ${target ?? 'something that only a run could tell'}; others carry it away`),
  );

/**
 * Nouns of a trade that are also words of ours: a database has a driver and clients, HTTP has routes, the network
 * addresses, a promise ends in a rejection. They pass as long as they stand for that; with an id behind them (`driverId`)
 * they stand for a person or a place.
 */
const HOMONYMS = new Set(['driver', 'client', 'route', 'address', 'rejection']);

/** The nouns come from the folders and the tables; the names and types of messages are forbidden as a whole. */
export const infrastructureKnowsNoTrade: Rule = (sources) => {
  const messages = messagesOf(sources);
  const application = messages.map(({ type }) => type.split('.')[0]!);
  const tables = inModules(sources).flatMap(({ tree, module }) =>
    [...nodes(tree)].flatMap((node) =>
      [...textOf(node).matchAll(new RegExp(`^${module}_([a-z_]+)$`, 'g'))].flatMap(([, name]) => name!.split('_')),
    ),
  );
  const nouns = new Set([...modulesOf(sources), ...application, ...tables].flatMap((it) => [it, singular(it)]));
  const plain = [...nouns].filter((it) => !HOMONYMS.has(singular(it)));
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
 * Domain files: no contract, nothing in them has a decorator, and their module's file doesn't name them. Nest and TypeORM
 * know a class by its decorators or from the module, so what neither of them is told of has no business with them.
 * (Giving a file a decorator makes it a provider or an entity; that is a decision, and it shows in the file.)
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
        .map((target) => `${path}: rules import ${target}; they need neither Nest nor TypeORM nor infrastructure`),
    );
};

export const flatAndNamed: Rule = (sources) =>
  [...sources.keys()].flatMap((path) => {
    const name = path.split('/').at(-1)!;
    const problems: string[] = [];
    if (name === 'index.ts') problems.push(`${path}: a barrel`);
    if (/^(utils?|helpers?|common|shared|misc)\b/.test(name)) problems.push(`${path}: a name that says nothing`);
    if (placeInModules(path)?.file.includes('/')) problems.push(`${path}: a folder in a module; it is two modules`);
    return problems;
  });

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
