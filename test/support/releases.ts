import { execFileSync } from 'node:child_process';
import { mkdtempSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ROOT } from '../../tools/source.js';

/** The commit of the release before this one. CONTRIBUTING.md says how to replace it. */
const PREVIOUS = '73eee7e';

/** Unpacks the compiled release before this one, which uses the packages of this one. @returns its main.js */
export function previousRelease(): string {
  const folder = mkdtempSync(join(tmpdir(), 'cabs-release-'));
  execFileSync('tar', ['-xzf', join(ROOT, 'test/fixtures/releases', `${PREVIOUS}.tar.gz`), '-C', folder]);
  symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
  return join(folder, 'dist/src/main.js');
}
