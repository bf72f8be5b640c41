import { z } from 'zod';
import { durableCommand, durableEvent, query } from '../../infrastructure/contracts/message.js';
import { MAX_ID, recordId, storedId } from '../../infrastructure/contracts/schemas.js';

/** Credit miles to the client for a transit (the subject), once, if their account is active. */
export class RegisterMiles extends durableCommand('cabs.loyalty.register-miles', z.object({ clientId: storedId }), {
  sentBy: ['rides'],
}) {}

/** The miles that were credited for the transit: 0 without an active account. */
export class MilesRegistered extends durableEvent(
  'cabs.loyalty.miles-registered',
  z.object({ clientId: storedId, miles: z.int().min(0).max(MAX_ID) }),
) {}

export const awards = z.object({
  clientId: recordId,
  active: z.boolean(),
  balance: z.int().describe('miles that have not expired'),
  transactions: z.int(),
});

/** The miles that were credited for transits. Transits without miles are left out. */
export class ReadTransitMiles extends query(
  'read-transit-miles',
  z.object({ transitIds: z.array(z.guid()).max(100) }),
  z.array(z.object({ transitId: z.guid(), miles: z.int() })),
  { askedBy: ['rides'] },
) {}

export class ReadAwards extends query('read-awards', z.object({ clientId: recordId }), awards.nullable()) {}
