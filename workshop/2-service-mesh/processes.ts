import type { Place, Planned } from '../runner/step-directory.js';

const SERVICES = ['geolocation', 'rides', 'drivers', 'loyalty', 'invoicing'] as const;
/** Not a line of the application changes: that is the promise of a mesh. */
const MAIN = '../1-naive-split/main.ts';

/** The six of step 1, and a sidecar through which the first calls the others. */
export function processes({ node, database, url }: Place): Planned[] {
  const at = (address: (name: string) => string) =>
    Object.fromEntries(SERVICES.map((name) => [`USVC_${name.toUpperCase()}`, address(name)] as const));
  return [
    node('cabs', MAIN, { SERVICE: 'cabs', ...at((name) => `${url('sidecar')}/${name}`) }),
    node('sidecar', 'sidecar.ts', at(url)),
    ...SERVICES.map((name) => node(name, MAIN, { SERVICE: name, DATABASE: database(name) })),
  ];
}
