import type { Planned, ProcessPlanner } from '../runner/process-planner.js';

/** The application of src/, as `npm run start:dev` starts it: one process, one database. */
export function processes({ application, database }: ProcessPlanner): Planned[] {
  return [application('cabs', { DATABASE_URL: `sqlite:${database('cabs')}` })];
}
