import ts from 'typescript';
import { nodes, type Sources } from '../source.js';
import { inModules, type Rule } from './rule.js';

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
