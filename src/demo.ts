import type { Address } from './modules/geolocation/contract.js';

/*
 * The demo: Bob Falc is driving John Doe, and the ride is about to end at Żytnia 32. Each module seeds its own part of
 * it, once, when SEED is `demo`.
 */

export const DEMO_RIDE = '0b9e5a4c-8d8f-4c1e-9a57-3d2f6c1b7e42';
/** The first client of an empty database. */
export const DEMO_CLIENT = { id: 1, name: 'John', lastName: 'Doe' };
export const DEMO_DRIVER = 1993432552;

export const PICKUP: Address = { country: 'Polska', city: 'Warszawa', street: 'Młynarska', buildingNumber: 20 };
export const PLANNED: Address = { country: 'Polska', city: 'Warszawa', street: 'Żytnia', buildingNumber: 25 };
export const REACHED: Address = { country: 'Polska', city: 'Warszawa', street: 'Żytnia', buildingNumber: 32 };

/** What a newcomer sees when the application has started. */
export function welcome(url: string, seed: 'demo' | 'none'): string {
  const look = [
    `  The API, to try out      ${url}/api`,
    `  What is on its way       curl -s ${url}/mesh/outbox`,
    `  What was given up        curl -s ${url}/mesh/dead-letters`,
  ];
  if (seed !== 'demo') return `\n${look.join('\n')}\n`;
  const body = JSON.stringify({ ...REACHED, hash: -580606919 });
  return `
Bob Falc is driving John Doe. End the ride:

curl -i -X POST ${url}/transits/${DEMO_RIDE}/complete \\
  -H 'Content-Type: application/json' \\
  -d '${body}'

and see it settled: price, the driver's fee, his freedom, miles, invoice

  The ride                 curl -s ${url}/transits/${DEMO_RIDE}
  Its invoice              curl -s '${url}/invoices?transitId=${DEMO_RIDE}'
${look.join('\n')}
  A journey from nothing   npm run demo
`;
}
