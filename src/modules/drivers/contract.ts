import { z } from 'zod';
import { durableCommand, durableEvent, query } from '../../infrastructure/contracts/message.js';
import { cents, MAX_ID, recordId, storedId } from '../../infrastructure/contracts/schemas.js';

/** Calculate what the driver earns for a transit (the subject) of this price, in cents. Done once per transit. */
export class CalculateFee extends durableCommand(
  'cabs.drivers.calculate-fee',
  z.object({ driverId: storedId, transitPrice: cents }),
  { sentBy: ['rides', 'usvc://cabs/legacy'] },
) {}

/** What the driver earns for the transit, in cents. The type is older than the naming rule and stays, because it is on the wire. */
export class DriverFeeCalculated extends durableEvent(
  'cabs.drivers.driver-fee',
  z.object({ driverId: storedId, fee: cents }),
) {}

/** There is no fee, because there is no such driver. */
export class DriverFeeRefused extends durableEvent(
  'cabs.drivers.driver-fee-refused',
  z.object({ driverId: storedId, reason: z.string() }),
) {}

/** Which acceptance of the transit a message is about: 1 for the first, and so on. Messages of older versions have none. */
const attempt = z.int().min(1).max(MAX_ID).optional();

/** Occupy the driver with a transit (the subject), unless they have another open one. The answer has the same attempt. */
export class OccupyDriver extends durableCommand(
  'cabs.drivers.driver-occupy',
  z.object({ driverId: storedId, attempt }),
  { sentBy: ['rides'] },
) {}

export class DriverOccupied extends durableEvent(
  'cabs.drivers.driver-occupied',
  z.object({ driverId: storedId, attempt }),
) {}

export class DriverRefused extends durableEvent(
  'cabs.drivers.driver-refused',
  z.object({ driverId: storedId, reason: z.string(), attempt }),
) {}

/**
 * Free the driver of a transit (the subject). It wins over OccupyDriver, also when it comes first. With an attempt it takes
 * back this attempt and earlier ones, later ones can occupy the driver, and there is no answer.
 */
export class FreeDriver extends durableCommand('cabs.drivers.driver-free', z.object({ driverId: storedId, attempt }), {
  sentBy: ['rides'],
}) {}

export class DriverFreed extends durableEvent('cabs.drivers.driver-freed', z.object({ driverId: storedId })) {}

/** `amount` is in basis points for a percentage, in cents for a flat fee. `min`, what the driver earns at least, is in cents. */
export const fee = z.object({
  type: z.enum(['percentage', 'flat']),
  amount: z.int().min(0).max(1_000_000_000),
  min: z.int().min(0).max(1_000_000_000).nullish(),
});

export const driver = z.object({
  id: recordId,
  firstName: z.string(),
  lastName: z.string(),
  driverLicense: z.string(),
  status: z.enum(['ACTIVE', 'INACTIVE']),
  fee: fee.nullable(),
  occupied: z.boolean(),
});

/** For transits with a driver: the stored fee in cents, or null, and whether the driver was freed, or is occupied. */
export class ReadSettledTransits extends query(
  'read-settled-transits',
  z.object({ transits: z.array(z.object({ transitId: z.guid(), driverId: storedId })).max(100) }),
  z.array(
    z.object({
      transitId: z.guid(),
      fee: cents.nullable(),
      isFree: z.boolean(),
      isOccupied: z.boolean().optional().describe('absent in answers of older versions'),
    }),
  ),
  { askedBy: ['rides'] },
) {}

/** The drivers who are occupied, with their transits, by their ids. */
export class ReadOccupiedDrivers extends query(
  'read-occupied-drivers',
  z.object({ after: z.int().min(0).max(MAX_ID), limit: z.int().min(1).max(100) }),
  z.array(z.object({ driverId: storedId, transitId: z.string(), attempt })),
  { askedBy: ['rides'] },
) {}

export class ReadDriver extends query('read-driver', z.object({ driverId: recordId }), driver.nullable(), {
  askedBy: ['drivers', 'rides'],
}) {}
