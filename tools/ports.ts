import { once } from 'node:events';
import { createServer } from 'node:net';

/** Below those that systems give to clients, from 32768 on: nobody else gets one of these by chance. */
const [LOWEST, HIGHEST] = [10_000, 32_000];

/** A port that nobody has, the first of so many in a row. */
export async function freePort(inARow = 1): Promise<number> {
  for (;;) {
    const first = LOWEST + Math.floor(Math.random() * (HIGHEST - LOWEST - inARow));
    const free = await Promise.all(Array.from({ length: inARow }, (_, index) => isFree(first + index)));
    if (free.every(Boolean)) return first;
  }
}

/** Whether somebody could listen at a port of the loopback address. */
export async function isFree(port: number): Promise<boolean> {
  const server = createServer();
  try {
    await once(server.listen(port, '127.0.0.1'), 'listening');
  } catch {
    return false;
  }
  await once(server.close(), 'close');
  return true;
}
