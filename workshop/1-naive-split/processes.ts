import type { Place, Planned } from '../runner/place.js';

const SERVICES = ['geolocation', 'rides', 'drivers', 'loyalty', 'invoicing'] as const;

/** Six processes, five databases. */
export function processes({ node, database, url }: Place): Planned[] {
  const services = Object.fromEntries(SERVICES.map((name) => [`USVC_${name.toUpperCase()}`, url(name)]));
  return [
    node('cabs', 'main.ts', { SERVICE: 'cabs', ...services }),
    ...SERVICES.map((name) => node(name, 'main.ts', { SERVICE: name, DATABASE: database(name) })),
  ];
}
