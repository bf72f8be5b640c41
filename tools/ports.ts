import { once } from 'node:events';
import { createServer } from 'node:net';

/** Below the ports that systems assign to clients (32768 and up), so that no client gets one of these by chance. */
const [MIN_PORT, MAX_PORT] = [10_000, 32_000];
/** Processes search different blocks, so that one doesn't try the port that another has just found. */
const BLOCK = 2000;
/** The latest ports that were found: their servers may not listen yet. */
const found: number[] = [];
const REMEMBERED = 100;

/** Finds a free port. @param inARow number of free ports in a row, of which the first is returned */
export async function freePort(inARow = 1): Promise<number> {
  const block = MIN_PORT + (process.pid % ((MAX_PORT - MIN_PORT) / BLOCK)) * BLOCK;
  for (;;) {
    const first = block + Math.floor(Math.random() * (BLOCK - inARow));
    const ports = Array.from({ length: inARow }, (_, index) => first + index);
    if (ports.some((port) => found.includes(port)) || !(await Promise.all(ports.map(isFree))).every(Boolean)) continue;
    found.push(...ports);
    found.splice(0, found.length - REMEMBERED);
    return first;
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
