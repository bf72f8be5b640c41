import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Planned } from '../../tools/mesh-up/plan.js';
import { ROOT } from '../../tools/source.js';

export type { Planned };

/** Plans the processes of a step. Each step's `processes.ts` gets one. */
export interface ProcessPlanner {
  /** A TypeScript file of the step, run without a build. It gets a `PORT`. */
  readonly node: (name: string, file: string, environment: Record<string, string>) => Planned;
  /** The compiled application of src/. */
  readonly application: (name: string, environment: Record<string, string>) => Planned;
  /** A tool of this project, with its arguments. It gets a `--port`. */
  readonly tool: (name: string, file: string, words: readonly string[]) => Planned;
  /** The path of a database. */
  readonly database: (name: string) => string;
  /** The base URL of a process of the step. Users know the URL of `cabs`. */
  readonly url: (name: string) => string;
}

/** The compiled application, as `nest build` lays it out. */
export const COMPILED = 'dist/src';
const TYPESCRIPT = pathToFileURL(join(ROOT, 'workshop/runner/typescript.mjs')).href;

/**
 * @param folder of the step
 * @param data the folder for its databases
 * @param port of the process `cabs`; the other processes get the ports from `port` + 10 on
 */
export function processPlanner(folder: string, data: string, port: number): ProcessPlanner {
  const ports = new Map([['cabs', port]]);
  const portOf = (name: string) => {
    if (!ports.has(name)) ports.set(name, port + 9 + ports.size);
    return ports.get(name)!;
  };
  const url = (name: string) => `http://127.0.0.1:${portOf(name)}`;
  const common = (name: string) => ({ name, port: portOf(name), url: url(name), readyPath: '/health/ready' });
  return {
    node: (name, file, environment) => ({
      ...common(name),
      command: ['--import', TYPESCRIPT, resolve(folder, file)],
      environment: { PORT: String(portOf(name)), ...environment },
    }),
    application: (name, environment) => ({
      ...common(name),
      command: [`${COMPILED}/main.js`],
      environment: { PORT: String(portOf(name)), SEED: 'demo', ...environment },
    }),
    tool: (name, file, words) => ({
      ...common(name),
      ...(file === 'tools/meshy.ts broker' && { readyPath: '/mesh/outbox' }),
      command: ['--import', 'tsx', ...file.split(' '), '--port', String(portOf(name)), ...words],
      environment: {},
    }),
    database: (name) => join(data, `${name}.db`),
    url,
  };
}
