import type { Place, Planned } from '../runner/step-directory.js';

/** The application of src/, as `npm run start:dev` starts it: one process, one database. */
export function processes({ application, database }: Place): Planned[] {
  return [application('cabs', { DATABASE_URL: `sqlite:${database('cabs')}` })];
}
