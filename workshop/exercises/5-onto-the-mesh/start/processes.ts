import type { Planned, ProcessPlanner } from '../runner/process-planner.js';

/** One process, one database. The module loyalty opens transactions of its own in it. */
export function processes({ node, database }: ProcessPlanner): Planned[] {
  const environment = { DATABASE_URL: `sqlite:${database('cabs')}`, DATABASE: database('cabs'), SEED: 'demo' };
  return [node('cabs', 'main.ts', environment)];
}
