import { existsSync, mkdirSync, readdirSync, rmSync, statSync } from 'node:fs';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { ROOT } from '../../tools/source.js';
import { COMPILED } from './process-planner.js';

/** Makes an empty folder for the databases of a step. */
export function emptyFolder(path: string): string {
  rmSync(path, { recursive: true, force: true });
  mkdirSync(path, { recursive: true });
  return path;
}

/** Compiles the application, unless it has been compiled since the last change of its sources. */
export function buildApplication(): void {
  const built = join(ROOT, COMPILED, 'main.js');
  if (existsSync(built) && isOlder(['src', 'migrations'], statSync(built).mtimeMs)) return;
  console.log('Compiling the application …');
  execFileSync(process.execPath, ['node_modules/@nestjs/cli/bin/nest.js', 'build'], { cwd: ROOT, stdio: 'inherit' });
}

function isOlder(folders: readonly string[], builtAt: number): boolean {
  return folders.every((folder) => newestChange(join(ROOT, folder)) <= builtAt);
}

function newestChange(folder: string): number {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((it) => it.isFile());
  return Math.max(...files.map((it) => statSync(join(it.parentPath, it.name)).mtimeMs));
}
