import type { Address } from './modules/geolocation/contract.js';

/*
 * The demo: Bob Falc is driving John Doe, and the ride is about to end at Żytnia 32. With SEED=demo, each module seeds its
 * own rows of it.
 */

export const DEMO_RIDE = '0b9e5a4c-8d8f-4c1e-9a57-3d2f6c1b7e42';
/** The id is that of the first client in an empty database. */
export const DEMO_CLIENT = { id: 1, name: 'John', lastName: 'Doe' };
export const DEMO_DRIVER = 1993432552;

export const PICKUP: Address = { country: 'Polska', city: 'Warszawa', street: 'Młynarska', buildingNumber: 20 };
export const PLANNED: Address = { country: 'Polska', city: 'Warszawa', street: 'Żytnia', buildingNumber: 25 };
export const REACHED: Address = { country: 'Polska', city: 'Warszawa', street: 'Żytnia', buildingNumber: 32 };

/** The text that a development process prints when it has started. `meshUrl` differs where the mesh has its own port. */
export function welcome(url: string, seed: 'demo' | 'none', meshUrl = url): string {
  const addresses = [
    `  The console              ${meshUrl}/mesh/console`,
    `  API documentation        ${url}/api`,
    `  Pending messages         curl -s ${meshUrl}/mesh/outbox`,
    `  Failed messages          curl -s ${meshUrl}/mesh/dead-letters`,
  ];
  if (seed !== 'demo') return `\n${addresses.join('\n')}\n`;
  const body = JSON.stringify({ ...REACHED, hash: -580606919 });
  return `
Bob Falc is driving John Doe, until you end the ride (a second time changes nothing):

curl -i -X POST ${url}/transits/${DEMO_RIDE}/complete \\
  -H 'Content-Type: application/json' \\
  -d '${body}'

and see it settled: price, driver's fee, freed driver, miles, invoice

  The ride                 curl -s ${url}/transits/${DEMO_RIDE}
  Its invoice              curl -s '${url}/invoices?transitId=${DEMO_RIDE}'
${addresses.join('\n')}
  A ride from the start    npm run demo -- --url ${url}
`;
}
