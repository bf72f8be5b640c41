import { once } from 'node:events';
import { endProcess, startProcess } from '../processes.js';
import type { ContenderMessage, RoundCommand } from './main.js';

/** A contender in a process of its own. */
export interface ContenderProcess {
  /** @returns messages per second */
  settle(round: RoundCommand): Promise<number>;
  end(): Promise<void>;
}

/** @param which `<file of this folder>/<contender in it>`; keeps its process for all rounds, so that its code is compiled */
export async function startContender(which: string): Promise<ContenderProcess> {
  const child = await startProcess('contenders/main.ts', {}, which.split('/'));
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
