import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { filesAreShort, noCircles } from '../../tools/architecture/files.js';
import { floorsHold, floorsIn } from '../../tools/architecture/infrastructure.js';
import { readSources, ROOT, type Sources } from '../../tools/source.js';

const FLOORS = floorsIn(readFileSync(join(ROOT, 'docs/architecture.md'), 'utf8'));
const CODE = ['src', 'migrations', 'tools', 'workshop', 'faults', 'bench'];

function sourcesOf(...folders: string[]): Sources {
  return new Map(folders.flatMap((folder) => [...readSources(folder)]));
}

describe('The layout', () => {
  it('has the floors of docs/architecture.md, and no import points up', () => {
    expect(FLOORS[0]).toEqual(['dead-letters', 'cqrs', 'broker', 'maintenance', 'console']);
    expect(FLOORS.at(-1)).toEqual(['observability']);
    expect(floorsHold(FLOORS)(sourcesOf('src'))).toEqual([]);
  });

  it('has no file over 200 lines without a reason', () => {
    expect(filesAreShort(sourcesOf(...CODE))).toEqual([]);
  });

  it('has no circular imports', () => {
    expect(noCircles(sourcesOf(...CODE, 'test'))).toEqual([]);
  });
});

describe('The rules of the layout', () => {
  const infrastructure = (files: Record<string, string>): Sources =>
    new Map(Object.entries(files).map(([path, text]) => [`src/infrastructure/${path}`, text]));

  it.each([
    ['a higher floor', 'store/a.ts', `import '../outbox/b.js';`],
    ['a higher floor, as a type', 'store/a.ts', `import type { B } from '../outbox/b.js';`],
    ['another folder of its floor', 'broker/a.ts', `import '../cqrs/b.js';`],
    ['a file above all floors', 'store/a.ts', `import '../mesh.module.js';`],
    ['a folder without a floor', 'store/a.ts', `import '../elsewhere/b.js';`],
  ])('find an import of %s', (_, path, text) => {
    const found = floorsHold(FLOORS)(infrastructure({ [path]: text }));
    expect(found).toEqual([expect.stringContaining('not on a floor below')]);
  });

  it('find a folder without a floor', () => {
    const found = floorsHold(FLOORS)(infrastructure({ 'elsewhere/a.ts': '' }));
    expect(found).toEqual([expect.stringContaining('has no floor')]);
  });

  it('allow imports within a folder and from floors below, and every import in files above all floors', () => {
    const files = {
      'outbox/a.ts': `import './b.js'; import '../delivery/c.js'; import '../observability/d.js';`,
      'mesh.module.ts': `import './cqrs/a.js'; import './mesh-options.js';`,
    };
    expect(floorsHold(FLOORS)(infrastructure(files))).toEqual([]);
  });

  it('find a file with 201 lines, and allow one with 200', () => {
    const long = new Map([['src/long.ts', '\n'.repeat(201)]]);
    expect(filesAreShort(long)).toEqual(['src/long.ts: has 201 lines; 200 are the limit']);
    expect(filesAreShort(new Map([['src/short.ts', '\n'.repeat(200)]]))).toEqual([]);
  });

  it('find a circle, also of types', () => {
    const circle = new Map([
      ['src/a.ts', `import './b.js';`],
      ['src/b.ts', `import type { C } from './c.js';`],
      ['src/c.ts', `export * from './a.js';`],
    ]);
    expect(noCircles(circle)).toEqual(['src/a.ts: imports itself by src/b.ts, src/c.ts, src/a.ts']);
    circle.set('src/c.ts', '');
    expect(noCircles(circle)).toEqual([]);
  });
});
