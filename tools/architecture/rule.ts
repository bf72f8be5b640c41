import ts from 'typescript';
import { parse, placeInModules, type Sources } from '../source.js';

/*
 * The rules of the architecture work on {path -> text}, so that tests can plant violations. Modules, tables, messages and
 * domain files are found in the sources: adding a module changes nothing here.
 */

/** @returns the violations, each as `path: violation` */
export type Rule = (sources: Sources) => string[];

export interface File {
  readonly path: string;
  readonly tree: ts.SourceFile;
  /** The folder under src/modules, if it is in one. */
  readonly module?: string;
  /** The path within the module. */
  readonly file: string;
}

export function filesOf(sources: Sources, under = 'src/'): File[] {
  return [...sources]
    .filter(([path]) => path.startsWith(under))
    .map(([path, text]) => ({ path, tree: parse(path, text), file: path, ...placeInModules(path) }));
}

export const inModules = (sources: Sources) => filesOf(sources, 'src/modules/');
export const modulesOf = (sources: Sources) => new Set(inModules(sources).flatMap(({ module }) => module ?? []));
export const inInfrastructure = (path: string) => path.startsWith('src/infrastructure/');

/** What a string or template says; nothing for other nodes. */
export function textOf(node: ts.Node): string {
  const isText = ts.isStringLiteralLike(node) || ts.isTemplateHead(node) || ts.isTemplateMiddleOrTemplateTail(node);
  return isText ? node.text : '';
}

export function propertyText(object: ts.Expression | undefined, key: string): string | undefined {
  if (!object || !ts.isObjectLiteralExpression(object)) return undefined;
  for (const property of object.properties) {
    const isIt = ts.isPropertyAssignment(property) && property.name.getText() === key;
    if (isIt && ts.isStringLiteralLike(property.initializer)) return property.initializer.text;
  }
  return undefined;
}
