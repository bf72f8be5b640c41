import type { Place, Planned } from '../runner/place.js';

/** One process; the database of the modules, and beside it the one in which loyalty still lives by itself. */
export function processes({ node, database }: Place): Planned[] {
  const environment = { DATABASE_URL: `sqlite:${database('cabs')}`, DATABASE: database('cabs'), SEED: 'demo' };
  return [node('cabs', 'main.ts', environment)];
}
