import type { Planned, ProcessPlanner } from '../runner/process-planner.js';

const SERVICES = ['geolocation', 'rides', 'drivers', 'loyalty', 'invoicing'] as const;

/** Six processes, five databases. */
export function processes({ node, database, url }: ProcessPlanner): Planned[] {
  const addresses = (urlOf: (name: string) => string) =>
    Object.fromEntries(SERVICES.map((name) => [`USVC_${name.toUpperCase()}`, urlOf(name)] as const));
  return [
    node('cabs', 'main.ts', { SERVICE: 'cabs', ...addresses(url) }),
    ...SERVICES.map((name) => node(name, 'main.ts', { SERVICE: name, DATABASE: database(name) })),
  ];
}
