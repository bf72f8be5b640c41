import 'reflect-metadata';
import { MODULES } from '../../src/app.module.js';
import { migrationHistories } from '../../src/infrastructure/mesh.module.js';
import { extract, type Point } from '../../tools/extraction/extraction.js';

/* A process that extracts a module, tells what it took, or kills itself on the way. */

const { module, from, to, point } = JSON.parse(process.argv[2]!) as Record<'module' | 'from' | 'to', string> & {
  point?: Point;
};
const started = performance.now();
await extract({
  from,
  to,
  sender: `usvc://cabs/${module}`,
  history: migrationHistories(MODULES).find(({ owner }) => owner === module)!,
  onPoint: (reached) => void (reached === point && process.kill(process.pid, 'SIGKILL')),
});
const seconds = (performance.now() - started) / 1000;
console.log(JSON.stringify({ seconds, rssMb: process.resourceUsage().maxRSS / 1024 }));
