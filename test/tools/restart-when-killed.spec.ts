import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

const PROGRAM = `process.on('SIGTERM', () => process.exit(7));
console.log(process.pid);
setInterval(() => {}, 1000);`;

describe('npm run start:dev', () => {
  let restarting: ChildProcess;
  let lines: AsyncIterableIterator<string>;

  beforeEach(() => {
    const args = ['tools/restart-when-killed.mjs', '--input-type=module', '--eval', PROGRAM];
    restarting = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    lines = createInterface(restarting.stdout!)[Symbol.asyncIterator]();
  });
  // Not SIGKILL, which would leave the program running.
  afterEach(async () => {
    const isOver = restarting.exitCode !== null || !restarting.kill('SIGTERM');
    if (!isOver) await once(restarting, 'exit');
  });

  const nextPid = async () => Number((await lines.next()).value);

  it('starts the program again when it was killed', async () => {
    const first = await nextPid();
    process.kill(first, 'SIGKILL');
    const second = await nextPid();
    expect(second).not.toBe(first);
    process.kill(second, 'SIGKILL');
    expect(await nextPid()).not.toBe(second);
  });

  it('ends with the program, and passes signals on', async () => {
    await nextPid();
    restarting.kill('SIGTERM');
    expect(await once(restarting, 'exit')).toEqual([7, null]);
  });
});
