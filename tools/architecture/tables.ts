import ts from 'typescript';
import { decoratorsOf, nodes } from '../source.js';
import { inModules, modulesOf, propertyText, textOf, type Rule } from './rule.js';

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
