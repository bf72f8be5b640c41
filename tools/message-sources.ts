import ts from 'typescript';
import { nodes, parse, placeInModules, type Sources } from './source.js';

/* Finds in the sources where the classes of modules are declared, and which modules send which messages. */

/** The file of a class, and its comment. */
export interface ClassSource {
  readonly path: string;
  readonly sentence?: string;
}

/** All classes of all modules, by `module/Class`. */
export function classSourcesOf(sources: Sources): Map<string, ClassSource> {
  const classSources = new Map<string, ClassSource>();
  for (const [path, text] of sources) {
    const module = placeInModules(path)?.module;
    if (!module) continue;
    for (const node of nodes(parse(path, text))) {
      if (!ts.isClassDeclaration(node) || !node.name) continue;
      const comment = ts.getJSDocCommentsAndTags(node).find(ts.isJSDoc)?.comment;
      const sentence = ts.getTextOfJSDocComment(comment)?.replace(/\s+/g, ' ');
      classSources.set(`${module}/${node.name.text}`, { path, sentence });
    }
  }
  return classSources;
}

/** The modules that send each message: those with a `new RegisterMiles(…)`. Keys are `owner/Class`. */
export function sendersOf(sources: Sources): Map<string, Set<string>> {
  const senders = new Map<string, Set<string>>();
  for (const [path, text] of sources) {
    const module = placeInModules(path)?.module;
    if (!module) continue;
    const tree = parse(path, text);
    const owners = new Map<string, string>();
    for (const statement of tree.statements) {
      if (!ts.isImportDeclaration(statement)) continue;
      const bindings = statement.importClause?.namedBindings;
      const from = (statement.moduleSpecifier as ts.StringLiteral).text;
      const [, owner = module] = /^\.\.\/([^/]+)\/contract\.js$/.exec(from) ?? [];
      if (!from.endsWith('/contract.js') || !bindings || !ts.isNamedImports(bindings)) continue;
      for (const { name, propertyName } of bindings.elements) {
        owners.set(name.text, `${owner}/${(propertyName ?? name).text}`);
      }
    }
    for (const node of nodes(tree)) {
      if (!ts.isNewExpression(node) || !ts.isIdentifier(node.expression)) continue;
      const message = owners.get(node.expression.text);
      if (message) senders.set(message, (senders.get(message) ?? new Set()).add(module));
    }
  }
  return senders;
}
