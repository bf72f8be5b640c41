import type { Place, Planned } from '../runner/step-directory.js';

/** One process, one database, in which loyalty still has transactions of its own. */
export function processes({ node, database }: Place): Planned[] {
  const environment = { DATABASE_URL: `sqlite:${database('cabs')}`, DATABASE: database('cabs'), SEED: 'demo' };
  return [node('cabs', 'main.ts', environment)];
}
