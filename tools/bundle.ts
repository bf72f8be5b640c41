import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from './source.js';

/** The entry point of the bundled application, which the image and `npm run start:prod` start. */
export const BUNDLED_MAIN = join(ROOT, 'dist/bundle/main.js');

/** Bundles the compiled application, as `npm run build:bundle` does: takes about 3 s. */
export function bundleApplication(): void {
  const arguments_ = [
    'node_modules/vite/bin/vite.js',
    'build',
    '--config',
    'bundle/vite.config.ts',
    '--logLevel',
    'warn',
  ];
  execFileSync(process.execPath, arguments_, { cwd: ROOT, stdio: 'inherit' });
}

/** Bundles the application if that has not happened yet. A build of `dist/src` removes the bundle, so it is never older. */
export function bundleIfMissing(): void {
  if (!existsSync(BUNDLED_MAIN)) bundleApplication();
}
