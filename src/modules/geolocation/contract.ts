import { v5 as uuidv5 } from 'uuid';
import { z } from 'zod';
import { durableCommand, durableEvent, query } from '../../infrastructure/contracts/message.js';
import { MAX_ID, metres, text } from '../../infrastructure/contracts/schemas.js';

/** Where a ride begins or ends. Country, city, street and building number are enough to find it. */
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

/** Namespace of address ids. Changing it would give every address another id. */
const ADDRESSES = '6b1c8f1e-52c7-5a57-9d2c-1f0c9a3f6f20';

/** The identity of an address: a UUID v5 of all its fields, whatever their case, spacing or Unicode form. */
export function addressId(of: Address): string {
  const { country, district, city, street, buildingNumber, additionalNumber, postalCode, name } = of;
  const fields = [country, district, city, street, buildingNumber, additionalNumber, postalCode, name];
  const normal = fields.map((it) =>
    String(it ?? '')
      .normalize('NFC')
      .trim()
      .replace(/\s+/g, ' ')
      .toLowerCase(),
  );
  return uuidv5(JSON.stringify(normal), ADDRESSES);
}

/** Keep both addresses, and say how far apart they are. Idempotent by transit (the subject) and destination. */
export class UpdateDestination extends durableCommand(
  'cabs.geolocation.update-destination',
  z.object({ from: address, destination: address }),
) {}

/** The destination of a transit is known, and so is the distance from its pickup, in metres. */
export class DestinationUpdated extends durableEvent(
  'cabs.geolocation.destination-updated',
  z.object({ addressId: z.uuid(), distanceMetres: metres }),
) {}

/** How far apart two addresses are, in metres; nothing is kept. */
export class MeasureRoute extends query(
  'measure-route',
  z.object({ from: address, to: address }),
  z.object({ distanceMetres: metres }),
) {}

/** An address that has been kept. `hash` is the 32-bit one of the legacy application; it identifies nothing here. */
export const keptAddress = address.extend({
  id: z.uuid(),
  hash: z.int(),
  latitude: z.number().nullable(),
  longitude: z.number().nullable(),
});

export class ReadAddress extends query('read-address', z.object({ addressId: z.guid() }), keptAddress.nullable()) {}
