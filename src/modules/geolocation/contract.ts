import { v5 as uuidv5 } from 'uuid';
import { z } from 'zod';
import { durableCommand, durableEvent, query } from '../../infrastructure/contracts/message.js';
import { MAX_ID, metres, text } from '../../infrastructure/contracts/schemas.js';

/** The pickup or the destination of a ride. Country, city, street and building number are required. */
export const address = z.object({
  country: text(),
  district: text().nullish(),
  city: text(),
  street: text(),
  buildingNumber: z.int().min(0).max(MAX_ID),
  additionalNumber: z.int().min(0).max(MAX_ID).nullish(),
  postalCode: text(20).nullish(),
  name: text().nullish(),
});
export type Address = z.infer<typeof address>;

/** Namespace of address ids. Changing it changes the id of every address. */
const ADDRESSES = '6b1c8f1e-52c7-5a57-9d2c-1f0c9a3f6f20';

/** The id of an address: a UUID v5 of all its fields, regardless of their case, spacing and Unicode form. */
export function addressId(of: Address): string {
  const { country, district, city, street, buildingNumber, additionalNumber, postalCode, name } = of;
  const fields = [country, district, city, street, buildingNumber, additionalNumber, postalCode, name];
  const normal = fields.map((it) => normalForm(String(it ?? '')));
  return uuidv5(JSON.stringify(normal), ADDRESSES);
}

function normalForm(text: string): string {
  // ASCII without superfluous spaces, as in most addresses: lower case is all that the way below would do, and slowly.
  if (/^([!-~]+( [!-~]+)*)?$/.test(text)) return text.toLowerCase();
  return text
    .normalize('NFC')
    .trim()
    .replace(/\s+/g, ' ')
    .replace(/[^\u0131]+/g, foldCase)
    .normalize('NFC');
}

/** Unicode case folding: `Straße` and `STRASSE` become equal. Without ı, which is another letter than i. */
function foldCase(text: string): string {
  return text.toLowerCase().toUpperCase().toLowerCase();
}

/** Store both addresses, and answer with their distance. Idempotent by transit (the subject) and destination. */
export class UpdateDestination extends durableCommand(
  'cabs.geolocation.update-destination',
  z.object({ from: address, destination: address }),
  { sentBy: ['rides'] },
) {}

/** The destination of a transit is stored; its distance from the pickup is in metres. */
export class DestinationUpdated extends durableEvent(
  'cabs.geolocation.destination-updated',
  z.object({ addressId: z.uuid(), distanceMetres: metres }),
) {}

/** The distance of two addresses, in metres. Stores nothing. */
export class MeasureRoute extends query(
  'measure-route',
  z.object({ from: address, to: address }),
  z.object({ distanceMetres: metres }),
  { askedBy: ['rides'] },
) {}

/** The ids of the transits whose two addresses and whose distance are stored. */
export class ReadStoredRoutes extends query(
  'read-stored-routes',
  z.object({
    routes: z.array(z.object({ transitId: z.guid(), pickupId: z.guid(), destinationId: z.guid() })).max(100),
  }),
  z.array(z.guid()),
  { askedBy: ['rides'] },
) {}

/** A stored address. `hash` is the 32-bit hash of the legacy application, and identifies nothing here. */
export const keptAddress = address.extend({
  id: z.uuid(),
  hash: z.int(),
  latitude: z.number().nullable(),
  longitude: z.number().nullable(),
});

export class ReadAddress extends query('read-address', z.object({ addressId: z.guid() }), keptAddress.nullable()) {}
