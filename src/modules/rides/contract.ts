import { z } from 'zod';
import { durableCommand, durableEvent, query } from '../../infrastructure/contracts/message.js';
import { cents, metres, moment, recordId, storedId } from '../../infrastructure/contracts/schemas.js';
import { address } from '../geolocation/contract.js';

/** The transit is over: settle it. rides sends this to itself, with the destination that was reached. */
export class CompleteTransit extends durableCommand(
  'cabs.rides.complete-transit',
  z.object({ transitId: z.uuid(), destination: address }),
) {}

/** A transit is over and has its price, in cents. For any module that subscribes. */
export class TransitCompleted extends durableEvent(
  'cabs.rides.transit-completed',
  z.object({
    clientId: storedId,
    driverId: storedId,
    price: cents,
    distanceMetres: metres,
    startedAt: moment,
    completedAt: moment,
  }),
) {}

export const STATUSES = [
  'DRAFT',
  'CANCELLED',
  'WAITING_FOR_DRIVER_ASSIGNMENT',
  'ACCEPTING',
  'TRANSIT_TO_PASSENGER',
  'IN_TRANSIT',
  'COMPLETING',
  'COMPLETED',
] as const;

const settled = z.enum(['pending', 'settled', 'failed']);

/** A transit as the API shows it. Money in cents. */
export const transit = z.object({
  id: z.uuid(),
  status: z.enum(STATUSES),
  clientId: recordId,
  driverId: recordId.optional(),
  carClass: z.string(),
  from: address.extend({ id: z.uuid() }),
  to: address.extend({ id: z.uuid() }),
  distanceKm: z.number(),
  tariff: z.object({ name: z.string(), kmRate: z.number().describe('per km, in whole units'), baseFeeCents: z.int() }),
  estimatedPrice: cents,
  price: cents.optional(),
  driverFee: cents.optional(),
  requestedAt: moment,
  publishedAt: moment.optional(),
  acceptedAt: moment.optional(),
  startedAt: moment.optional(),
  completedAt: moment.optional(),
  cancelledAt: moment.optional(),
  settlement: z
    .object({ driverFee: settled, driverFreed: settled, miles: settled, invoice: settled })
    .optional()
    .describe('the progress of what follows the end of the ride'),
  settlementSince: moment.optional().describe('the end of the ride, while a part of its settlement is pending'),
});

export class ReadTransit extends query('read-transit', z.object({ transitId: z.guid() }), transit.nullable()) {}

export class ListTransits extends query(
  'list-transits',
  z.object({
    clientId: recordId.optional(),
    status: z.enum(STATUSES).optional(),
    requestedBefore: moment.optional(),
    page: z.int().min(1).max(100),
    size: z.int().min(1).max(100),
  }),
  z.object({ items: z.array(transit), page: z.int(), size: z.int(), total: z.int() }),
) {}
