import type { Place, Planned } from '../runner/step-directory.js';

/** One process, one database. */
export function processes({ node, database }: Place): Planned[] {
  const environment = { DATABASE_URL: `sqlite:${database('cabs')}`, SEED: 'demo' };
  return [node('cabs', 'main.ts', environment)];
}
