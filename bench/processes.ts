import { fork, type ChildProcess } from 'node:child_process';
import { on, once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ROOT } from '../tools/source.js';

const TYPESCRIPT = pathToFileURL(join(ROOT, 'workshop/runner/typescript.mjs')).href;

/** Starts a file of bench/ as a process of its own, and waits until it says that it is ready. It ends when we do. */
export async function startProcess(file: string, environment: Record<string, string> = {}): Promise<ChildProcess> {
  const child = fork(join(ROOT, 'bench', file), {
    execArgv: file.endsWith('.ts') ? ['--import', TYPESCRIPT] : [],
    env: { PATH: process.env.PATH, ...environment },
  });
  const died = once(child, 'exit').then(() => {
    throw new Error(`${file} ended before it was ready`);
  });
  await Promise.race([once(child, 'message'), died]);
  died.catch(() => undefined);
  return child;
}

/** The first message of a process that answers to `is`. */
export async function nextMessage<Message>(child: ChildProcess, is: (message: object) => boolean): Promise<Message> {
  for await (const [message] of on(child, 'message') as AsyncIterable<[object]>) {
    if (is(message)) return message as Message;
  }
  throw new Error('unreachable');
}

/** Ends a process, and waits until it is gone. */
export async function endProcess(child: ChildProcess): Promise<void> {
  const gone = once(child, 'exit');
  child.kill('SIGKILL');
  await gone;
}

/** Resident memory of a process, in MB. */
export function residentMb(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? NaN) / 1024;
}
