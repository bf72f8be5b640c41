import { fork, type ChildProcess } from 'node:child_process';
import { on, once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ROOT } from '../tools/source.js';

const TYPESCRIPT = pathToFileURL(join(ROOT, 'workshop/runner/typescript.mjs')).href;

/** How to run a file. */
interface Program {
  /** The program of Node; default: that of this process. */
  readonly execPath?: string;
  /** Modules that Node imports first, as URLs. */
  readonly imports?: readonly string[];
  readonly parameters?: readonly string[];
}

/** Starts a file of bench/ as a process, and waits for its first message. The process ends together with this one. */
export async function startProcess(
  file: string,
  environment: Record<string, string> = {},
  { execPath = process.execPath, imports = [], parameters = [] }: Program = {},
): Promise<ChildProcess> {
  const modules = file.endsWith('.ts') ? [...imports, TYPESCRIPT] : imports;
  const child = fork(join(ROOT, 'bench', file), parameters, {
    execPath,
    execArgv: modules.flatMap((url) => ['--import', url]),
    env: { PATH: process.env.PATH, ...environment },
  });
  const exited = once(child, 'exit').then(() => {
    throw new Error(`${file} exited before it was ready`);
  });
  await Promise.race([once(child, 'message'), exited]);
  exited.catch(() => undefined);
  return child;
}

/** Waits for the next message of a process that matches `is`. */
export async function nextMessage<Message>(child: ChildProcess, is: (message: object) => boolean): Promise<Message> {
  for await (const [message] of on(child, 'message') as AsyncIterable<[object]>) {
    if (is(message)) return message as Message;
  }
  throw new Error('unreachable');
}

/** Kills a process, and waits for its exit. */
export async function endProcess(child: ChildProcess): Promise<void> {
  const gone = once(child, 'exit');
  child.kill('SIGKILL');
  await gone;
}

/** Resident memory of a process, in MB. */
export function residentMb(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? NaN) / 1024;
}
