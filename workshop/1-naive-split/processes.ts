import type { Place, Planned } from '../runner/step-directory.js';

const SERVICES = ['geolocation', 'rides', 'drivers', 'loyalty', 'invoicing'] as const;

/** Six processes, five databases. */
export function processes({ node, database, url }: Place): Planned[] {
  const at = (address: (name: string) => string) =>
    Object.fromEntries(SERVICES.map((name) => [`USVC_${name.toUpperCase()}`, address(name)] as const));
  return [
    node('cabs', 'main.ts', { SERVICE: 'cabs', ...at(url) }),
    ...SERVICES.map((name) => node(name, 'main.ts', { SERVICE: name, DATABASE: database(name) })),
  ];
}
