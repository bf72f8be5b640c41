import ts from 'typescript';
import { decoratorsOf, importsOf, nodes, placeInModules, type Sources } from '../source.js';
import { filesOf, inInfrastructure, inModules, type File, type Rule } from './rule.js';

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
