import { once } from 'node:events';
import { createServer } from 'node:net';

/** Below the ports that systems assign to clients (32768 and up), so that no client gets one of these by chance. */
const [MIN_PORT, MAX_PORT] = [10_000, 32_000];

/** Finds a free port. @param inARow number of free ports in a row, of which the first is returned */
export async function freePort(inARow = 1): Promise<number> {
  for (;;) {
    const first = MIN_PORT + Math.floor(Math.random() * (MAX_PORT - MIN_PORT - inARow));
    const free = await Promise.all(Array.from({ length: inARow }, (_, index) => isFree(first + index)));
    if (free.every(Boolean)) return first;
  }
}

/** Whether a port of the loopback address is free. */
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
