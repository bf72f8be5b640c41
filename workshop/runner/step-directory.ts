import { existsSync, mkdirSync, readdirSync, rmSync, statSync } from 'node:fs';
import { execFileSync } from 'node:child_process';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Planned } from '../../tools/mesh-up/plan.js';
import { ROOT } from '../../tools/source.js';

export type { Planned };

/** Where a step runs: what its `processes.ts` makes its processes of. */
export interface Place {
  /** A file of the step, run as it is. It gets a `PORT`. */
  readonly node: (name: string, file: string, environment: Record<string, string>) => Planned;
  /** The compiled application of src/. */
  readonly application: (name: string, environment: Record<string, string>) => Planned;
  /** A tool of this project, with its words; it gets a `--port`. */
  readonly tool: (name: string, file: string, words: readonly string[]) => Planned;
  /** The path of a database. */
  readonly database: (name: string) => string;
  /** Where a process of the step is to be found. `cabs` is the address that users know. */
  readonly url: (name: string) => string;
}

const TYPESCRIPT = pathToFileURL(join(ROOT, 'workshop/runner/typescript.mjs')).href;

/**
 * @param folder of the step
 * @param data where its databases are
 * @param port of the process `cabs`; the others get those from ten above it on
 */
export function placeOf(folder: string, data: string, port: number): Place {
  const ports = new Map([['cabs', port]]);
  const portOf = (name: string) => {
    if (!ports.has(name)) ports.set(name, port + 9 + ports.size);
    return ports.get(name)!;
  };
  const url = (name: string) => `http://127.0.0.1:${portOf(name)}`;
  const at = (name: string) => ({ name, port: portOf(name), url: url(name), readyPath: '/health/ready' });
  return {
    node: (name, file, environment) => ({
      ...at(name),
      command: ['--import', TYPESCRIPT, resolve(folder, file)],
      environment: { PORT: String(portOf(name)), ...environment },
    }),
    application: (name, environment) => ({
      ...at(name),
      command: ['dist/src/main.js'],
      environment: { PORT: String(portOf(name)), SEED: 'demo', ...environment },
    }),
    tool: (name, file, words) => ({
      ...at(name),
      ...(file === 'tools/mesh.ts' && { readyPath: '/mesh/outbox' }),
      command: ['--import', 'tsx', file, '--port', String(portOf(name)), ...words],
      environment: {},
    }),
    database: (name) => join(data, `${name}.db`),
    url,
  };
}

/** An empty folder for the databases of a step. */
export function emptyFolder(path: string): string {
  rmSync(path, { recursive: true, force: true });
  mkdirSync(path, { recursive: true });
  return path;
}

/** Compiles the application, unless that has been done since it was last changed. */
export function buildApplication(): void {
  const built = join(ROOT, 'dist/src/main.js');
  if (existsSync(built) && sourcesAreOlderThan(statSync(built).mtimeMs)) return;
  console.log('Compiling the application …');
  execFileSync(process.execPath, ['node_modules/@nestjs/cli/bin/nest.js', 'build'], { cwd: ROOT, stdio: 'inherit' });
}

function sourcesAreOlderThan(builtAt: number): boolean {
  return ['src', 'migrations'].every((folder) => newest(join(ROOT, folder)) <= builtAt);
}

function newest(folder: string): number {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((it) => it.isFile());
  return Math.max(...files.map((it) => statSync(join(it.parentPath, it.name)).mtimeMs));
}
