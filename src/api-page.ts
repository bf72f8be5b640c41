import { createRequire } from 'node:module';
import { DEMO_CLIENT, DEMO_DRIVER, DEMO_RIDE, PICKUP, PLANNED, REACHED } from './demo.js';
import type { AboutApi } from './infrastructure/http/api-document.js';
import { addressId } from './modules/geolocation/contract.js';

/** Seen from the compiled file, and from the source in tests. */
const MANIFESTS = ['../../package.json', '../package.json'];

function versionOf(): string {
  const require = createRequire(import.meta.url);
  for (const path of MANIFESTS) {
    try {
      const { name, version } = require(path) as { name: string; version: string };
      if (name === 'meshy-cabs') return version;
    } catch {
      // The next one.
    }
  }
  throw new Error('The package.json of the application is missing');
}

const description = `A ride-hailing application whose six modules talk to each other over an event mesh.

The examples are those of the demo: Bob Falc is driving John Doe, and the ride is about to end. \`POST /transits/{id}/complete\` answers when
the ride is stored; the driver's fee, the miles and the invoice follow as messages, which \`GET /transits/{id}\` shows.

Errors are problem documents (RFC 9457) that name the field. Money is in cents, times are in UTC.`;

const fee = { type: 'percentage', amount: 480, min: 1000 };
const driver = { firstName: 'Jan', lastName: 'Kowalski', driverLicense: 'FARME100165AB5EW', fee };
const byDriver = { driverId: DEMO_DRIVER };

/** What the API page says, with examples that can be tried as they stand. */
export const ABOUT_API: AboutApi = {
  title: 'Meshy Cabs',
  version: versionOf(),
  description,
  bodies: {
    'POST /transits': { clientId: DEMO_CLIENT.id, from: PICKUP, to: PLANNED },
    'POST /transits/{id}/accept': byDriver,
    'POST /transits/{id}/reject': byDriver,
    'POST /transits/{id}/start': byDriver,
    'POST /transits/{id}/destination': REACHED,
    'POST /transits/{id}/complete': REACHED,
    'POST /drivers': driver,
    'PUT /drivers/{id}/fee': fee,
    'POST /clients': { name: 'Anna', lastName: 'Nowak' },
  },
  parameters: {
    '/transits': { id: DEMO_RIDE },
    '/addresses': { id: addressId(PICKUP) },
    '/drivers': { id: DEMO_DRIVER },
    '/clients': { id: DEMO_CLIENT.id },
    '/invoices': { transitId: DEMO_RIDE },
  },
};
