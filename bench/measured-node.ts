import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ROOT } from '../tools/source.js';
import { installRivals } from './contenders/install.js';

/** The folder of the rivals. Set where the program of versions.ts runs, absent where npm can't install it. */
const { RIVALS } = process.env;

/** Finds the packages of that folder, also the better-sqlite3 that this version of Node needs. */
const NODE_OPTIONS = `--import=${pathToFileURL(join(ROOT, 'bench/resolve-rivals.mjs')).href}`;

/** The environment of each process that is measured. */
export const NODE_ENVIRONMENT: { readonly PATH?: string; readonly RIVALS?: string; readonly NODE_OPTIONS?: string } = {
  PATH: process.env.PATH,
  ...(RIVALS && { RIVALS, NODE_OPTIONS }),
};

/**
 * Runs this program once more, on the Node of versions.ts, and ends with it: all that is measured runs on one version, as new as
 * that of the image. Where npm can't install it, says so and goes on.
 */
export function restartOnMeasuredNode(): void {
  if (RIVALS) return;
  let rivals: ReturnType<typeof installRivals>;
  try {
    rivals = installRivals();
  } catch (error) {
    console.error(`Measuring on Node ${process.version}, without rivals: ${(error as Error).message}`);
    return;
  }
  const { status } = spawnSync(rivals.node, [...process.execArgv, ...process.argv.slice(1)], {
    stdio: 'inherit',
    env: { ...process.env, RIVALS: rivals.folder, NODE_OPTIONS },
  });
  process.exit(status ?? 1);
}
