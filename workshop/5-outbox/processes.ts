import type { Place, Planned } from '../runner/step-directory.js';

/** One process, one database. */
export function processes({ node, database }: Place): Planned[] {
  const tables = database('cabs');
  return [node('cabs', 'main.ts', { DATABASE: tables })];
}
