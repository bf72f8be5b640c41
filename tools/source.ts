import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, posix, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

/* Parses TypeScript. A regular expression would also find imports in comments. */

/** Source texts by path, relative to the root of the project, with slashes. */
export type Sources = ReadonlyMap<string, string>;

export const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));

/** Reads all TypeScript files below a folder of the project. */
export function readSources(folder: string): Sources {
  const paths = readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true })
    .filter((it) => it.isFile() && it.name.endsWith('.ts'))
    .map((it) => join(it.parentPath, it.name));
  return new Map(
    paths.sort().map((path) => [relative(ROOT, path).split(sep).join('/'), readFileSync(path, 'utf8')] as const),
  );
}

/** The syntax tree of a text, with parents. */
export function parse(path: string, text: string): ts.SourceFile {
  return ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true);
}

/** A node and all nodes in it. */
export function* nodes(node: ts.Node): Generator<ts.Node> {
  yield node;
  const children: ts.Node[] = [];
  ts.forEachChild(node, (child) => void children.push(child));
  for (const child of children) yield* nodes(child);
}

/** The imports of a file: paths in the project, names of packages, or undefined for a computed import. */
export function importsOf(file: ts.SourceFile): (string | undefined)[] {
  const found: (string | undefined)[] = [];
  const add = (specifier: ts.Node | undefined) => {
    const isKnown = specifier && ts.isStringLiteralLike(specifier);
    found.push(isKnown ? resolve(file.fileName, specifier.text) : undefined);
  };
  for (const node of nodes(file)) {
    if (ts.isImportDeclaration(node)) add(node.moduleSpecifier);
    else if (ts.isExportDeclaration(node) && node.moduleSpecifier) add(node.moduleSpecifier);
    else if (ts.isExternalModuleReference(node)) add(node.expression);
    else if (ts.isImportTypeNode(node)) add(ts.isLiteralTypeNode(node.argument) ? node.argument.literal : undefined);
    else if (ts.isCallExpression(node) && isImportCall(node.expression)) add(node.arguments[0]);
  }
  return found;
}

function isImportCall(callee: ts.Expression): boolean {
  return callee.kind === ts.SyntaxKind.ImportKeyword || (ts.isIdentifier(callee) && callee.text === 'require');
}

function resolve(from: string, specifier: string): string {
  if (!specifier.startsWith('.')) return specifier;
  return posix.join(posix.dirname(from), specifier).replace(/\.js$/, '.ts');
}

/** The module of a file, and the path of the file in the module's folder. */
export function placeInModules(path: string): { module: string; file: string } | undefined {
  const [, module, file] = /^src\/modules\/([^/]+)\/(.+)$/.exec(path) ?? [];
  return module && file ? { module, file } : undefined;
}

/** The decorators of a class or class member, by name. */
export function decoratorsOf(node: ts.Node): { name: string; call?: ts.CallExpression }[] {
  const decorators = ts.canHaveDecorators(node) ? (ts.getDecorators(node) ?? []) : [];
  return decorators.map(({ expression }) =>
    ts.isCallExpression(expression)
      ? { name: expression.expression.getText(), call: expression }
      : { name: expression.getText() },
  );
}
