import type { Planned, ProcessPlanner } from '../runner/process-planner.js';

/** One process, one database. */
export function processes({ node, database }: ProcessPlanner): Planned[] {
  const environment = { DATABASE_URL: `sqlite:${database('cabs')}`, SEED: 'demo' };
  return [node('cabs', 'main.ts', environment)];
}
