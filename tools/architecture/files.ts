import { importsOf, parse, type Sources } from '../source.js';
import type { Rule } from './rule.js';

/** Longest source file, in lines. */
const MAX_LINES = 200;

/** Longer files, each with the reason why it is one thing. */
const LONGER: Readonly<Record<string, string>> = {
  'src/infrastructure/delivery/delivery-worker.ts': 'one loop: query, start, and what follows from each attempt',
};

export const filesAreShort: Rule = (sources) =>
  [...sources].flatMap(([path, text]) => {
    const lines = text.split('\n').length - 1;
    return lines > MAX_LINES && !(path in LONGER) ? [`${path}: has ${lines} lines; ${MAX_LINES} are the limit`] : [];
  });

/** @returns the files of each circle, as `path: imports itself by …` */
export const noCircles: Rule = (sources) => {
  const imports = new Map([...sources].map(([path, text]) => [path, targetsOf(path, text, sources)]));
  const done = new Set<string>();
  const circles: string[] = [];
  const visit = (path: string, way: readonly string[]): void => {
    const start = way.indexOf(path);
    if (start >= 0) circles.push(`${path}: imports itself by ${[...way.slice(start + 1), path].join(', ')}`);
    if (start >= 0 || done.has(path)) return;
    for (const target of imports.get(path) ?? []) visit(target, [...way, path]);
    done.add(path);
  };
  for (const path of imports.keys()) visit(path, []);
  return circles;
};

function targetsOf(path: string, text: string, sources: Sources): string[] {
  return importsOf(parse(path, text)).filter((it): it is string => it !== undefined && sources.has(it));
}
