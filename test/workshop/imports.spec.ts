import { importsOf, parse, readSources, type Sources } from '../../tools/source.js';

/** @returns the first circle of imports: paths, of which the last is the first again */
function findCircle(sources: Sources): string[] | undefined {
  const done = new Set<string>();
  const visit = (path: string, way: readonly string[]): string[] | undefined => {
    if (way.includes(path)) return [...way.slice(way.indexOf(path)), path];
    if (done.has(path)) return undefined;
    for (const target of importsOf(parse(path, sources.get(path)!))) {
      const circle = target !== undefined && sources.has(target) ? visit(target, [...way, path]) : undefined;
      if (circle) return circle;
    }
    done.add(path);
    return undefined;
  };
  for (const path of sources.keys()) {
    const circle = visit(path, []);
    if (circle) return circle;
  }
  return undefined;
}

describe('The imports of the workshop', () => {
  it('have no circles, not even of types', () => {
    expect(findCircle(readSources('workshop'))).toBeUndefined();
  });

  it('are searched for circles of any length', () => {
    const files = { a: './b.js', b: './c.js', c: './a.js', d: './a.js' };
    const sources = new Map(
      Object.entries(files).map(([name, target]) => [`w/${name}.ts`, `import type { T } from '${target}';`]),
    );
    expect(findCircle(sources)).toEqual(['w/a.ts', 'w/b.ts', 'w/c.ts', 'w/a.ts']);
    expect(findCircle(new Map([...sources].filter(([path]) => path !== 'w/c.ts')))).toBeUndefined();
  });
});
