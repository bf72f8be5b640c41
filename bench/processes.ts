import { fork, type ChildProcess } from 'node:child_process';
import { on, once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ROOT } from '../tools/source.js';
import { NODE_ENVIRONMENT } from './measured-node.js';

const TYPESCRIPT = pathToFileURL(join(ROOT, 'workshop/runner/typescript.mjs')).href;

/** Starts a file of bench/ as a process, and waits for its first message. The process ends together with this one. */
export async function startProcess(
  file: string,
  environment: Record<string, string> = {},
  parameters: readonly string[] = [],
): Promise<ChildProcess> {
  const child = fork(join(ROOT, 'bench', file), parameters, {
    execArgv: file.endsWith('.ts') ? ['--import', TYPESCRIPT] : [],
    env: { ...NODE_ENVIRONMENT, ...environment },
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
