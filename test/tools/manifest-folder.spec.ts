import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { UsageError } from '../../tools/errors.js';
import { HEADER, readManifests, writeManifests } from '../../tools/manifest-folder.js';

const GENERATED = {
  'monolith/kustomization.yaml': `${HEADER}kind: Kustomization\n`,
  'split/rides.yaml': `${HEADER}a: 1\n`,
};
/** Files of other people, some of them beside generated ones. */
const FOREIGN = {
  'notes.md': 'mine',
  'split/patch.yaml': 'kind: Service\n',
  'other/deep/down/secret.yaml': `# ours\n${HEADER}`,
  '.git/config': '',
};

describe('The folder of npm run manifests', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'cabs-manifests-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  function put(files: Record<string, string>): void {
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(dirname(join(folder, path)), { recursive: true });
      writeFileSync(join(folder, path), text);
    }
  }
  const generate = (into = folder) => writeManifests(into, new Map(Object.entries(GENERATED)));
  const content = () => Object.fromEntries(readManifests(folder));

  it('keeps the files of other people, and loses stale generated ones', () => {
    generate();
    const stale = { 'of-old.yaml': `${HEADER}kind: Trigger\n`, 'old/deep/of-old.yaml': HEADER };
    put({ ...stale, ...FOREIGN, 'windows.yaml': HEADER.replace('\n', '\r\n'), 'split/rides.yaml': `${HEADER}a: 0\n` });
    generate();
    expect(content()).toEqual({ ...GENERATED, ...FOREIGN });
  });

  it('is written when it is empty or does not exist', () => {
    generate(join(folder, 'new/folder'));
    expect(Object.keys(content()).sort()).toEqual(Object.keys(GENERATED).map((it) => `new/folder/${it}`));
  });

  it.each<[string, Record<string, string>]>([
    ['holds only files of other people', FOREIGN],
    ['holds generated files in another place, such as a whole repository', { 'deploy/split/rides.yaml': HEADER }],
    ['holds a file of other people where a generated one belongs', { ...GENERATED, 'split/rides.yaml': 'a: 1\n' }],
  ])('is refused and stays as it is when it %s', (_, before) => {
    put(before);
    expect(() => generate()).toThrow(UsageError);
    expect(content()).toEqual(before);
  });

  it('is refused when it has no name, or is a file', () => {
    put({ file: '' });
    expect(() => generate('')).toThrow(new UsageError('Invalid folder "": expected the path of a folder.'));
    expect(() => generate(join(folder, 'file'))).toThrow(/^Invalid folder ".*": it is a file\.$/);
  });
});
