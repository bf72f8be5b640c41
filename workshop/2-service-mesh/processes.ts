import type { Planned, ProcessPlanner } from '../runner/process-planner.js';

const SERVICES = ['geolocation', 'rides', 'drivers', 'loyalty', 'invoicing'] as const;
/** The application is that of step 1, unchanged. */
const MAIN = '../1-naive-split/main.ts';

/** The six processes of step 1, and a sidecar: `cabs` calls the services through it. */
export function processes({ node, database, url }: ProcessPlanner): Planned[] {
  const addresses = (urlOf: (name: string) => string) =>
    Object.fromEntries(SERVICES.map((name) => [`USVC_${name.toUpperCase()}`, urlOf(name)] as const));
  return [
    node('cabs', MAIN, { SERVICE: 'cabs', ...addresses((name) => `${url('sidecar')}/${name}`) }),
    node('sidecar', 'sidecar.ts', addresses(url)),
    ...SERVICES.map((name) => node(name, MAIN, { SERVICE: name, DATABASE: database(name) })),
  ];
}
