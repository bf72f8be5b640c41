import 'reflect-metadata';
import { HISTORIES } from '../../migrations/histories.js';
import { extract } from '../../tools/extraction/extraction.js';
import type { Point } from '../../tools/extraction/move.js';

/* A process that extracts a module and prints its time and memory, or kills itself at a point of the extraction. */

const { module, from, to, point } = JSON.parse(process.argv[2]!) as Record<'module' | 'from' | 'to', string> & {
  point?: Point;
};
const started = performance.now();
await extract({
  from,
  to,
  sender: `usvc://cabs/${module}`,
  history: HISTORIES.find(({ owner }) => owner === module)!,
  onPoint: (reached) => void (reached === point && process.kill(process.pid, 'SIGKILL')),
});
const seconds = (performance.now() - started) / 1000;
console.log(JSON.stringify({ seconds, rssMb: process.resourceUsage().maxRSS / 1024 }));
