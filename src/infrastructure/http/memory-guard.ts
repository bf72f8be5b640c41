import { getHeapStatistics } from 'node:v8';
import { MeshLogger } from '../observability/mesh-logger.js';

/** How often the memory is looked at, in ms, … */
const LOOK_MS = 100;
/** … and how long after connections were closed: until then it may hold what they left. */
const REST_MS = 1000;
/** The part of the heap that may be in use. Node ends the process when it is full. */
const MAX_HEAP_SHARE = 0.85;
/** The part of the memory of a container that heap and buffers may take up. The system ends the process when it is full. */
const MAX_MEMORY_SHARE = 0.8;

/**
 * Calls `shed` when the memory of the process runs short, before the process would end: the last resort against clients that
 * make it keep more than each limit foresees.
 * @param shed closes connections. @returns how many
 * @returns a function that stops it
 */
export function guardMemory(shed: () => number, share = MAX_HEAP_SHARE): () => void {
  const logger = new MeshLogger('Memory');
  let shedAt = -Infinity;
  const look = () => {
    if (performance.now() - shedAt < REST_MS || !isShort(share)) return;
    shedAt = performance.now();
    const closed = shed();
    if (closed > 0) logger.warn({ closed }, 'Memory is short: connections without work were closed');
  };
  const timer = setInterval(look, LOOK_MS).unref();
  return () => clearInterval(timer);
}

function isShort(share: number): boolean {
  const { used_heap_size: heap, heap_size_limit: heapLimit, external_memory: buffers } = getHeapStatistics();
  const memoryLimit = process.constrainedMemory() || Infinity;
  return heap > share * heapLimit || heap + buffers > MAX_MEMORY_SHARE * memoryLimit;
}
