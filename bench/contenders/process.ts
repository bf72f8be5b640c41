import { once } from 'node:events';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ROOT } from '../../tools/source.js';
import { endProcess, startProcess } from '../processes.js';
import type { Installation } from './install.js';
import type { ContenderMessage, RoundCommand } from './main.js';

const RESOLVE = pathToFileURL(join(ROOT, 'bench/resolve-rivals.mjs')).href;

/** A contender in a process of its own. */
export interface ContenderProcess {
  /** @returns messages per second */
  settle(round: RoundCommand): Promise<number>;
  end(): Promise<void>;
}

/** @param which `<file of this folder>/<contender in it>`; keeps its process for all rounds, so that its code is compiled */
export async function startContender({ folder, node }: Installation, which: string): Promise<ContenderProcess> {
  const child = await startProcess(
    'contenders/main.ts',
    { RIVALS: folder },
    {
      execPath: node,
      imports: [RESOLVE],
      parameters: which.split('/'),
    },
  );
  const exited = once(child, 'exit').then(() => {
    throw new Error(`The process of ${which} ended`);
  });
  exited.catch(() => undefined);
  return {
    settle: async (round) => {
      const answered = once(child, 'message') as Promise<[ContenderMessage]>;
      child.send(round);
      const [message] = await Promise.race([answered, exited]);
      if (!('perSecond' in message)) throw new Error(`The process of ${which} didn't answer`);
      return message.perSecond;
    },
    end: () => endProcess(child),
  };
}
