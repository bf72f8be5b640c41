import type { Planned, ProcessPlanner } from '../runner/process-planner.js';

/** One process, one database. */
export function processes({ node, database }: ProcessPlanner): Planned[] {
  const tables = database('cabs');
  return [node('cabs', 'main.ts', { DATABASE: tables })];
}
