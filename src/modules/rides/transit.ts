import type { STATUSES } from './contract.js';

export type Status = (typeof STATUSES)[number];

/** The states in which an action is allowed. */
export const ALLOWED_FROM = {
  publish: ['DRAFT'],
  accept: ['WAITING_FOR_DRIVER_ASSIGNMENT'],
  reject: ['WAITING_FOR_DRIVER_ASSIGNMENT'],
  start: ['TRANSIT_TO_PASSENGER'],
  changeDestination: ['DRAFT', 'WAITING_FOR_DRIVER_ASSIGNMENT', 'ACCEPTING', 'TRANSIT_TO_PASSENGER', 'IN_TRANSIT'],
  cancel: ['DRAFT', 'WAITING_FOR_DRIVER_ASSIGNMENT', 'ACCEPTING', 'TRANSIT_TO_PASSENGER'],
  complete: ['IN_TRANSIT'],
} as const satisfies Record<string, readonly Status[]>;

export type Action = keyof typeof ALLOWED_FROM;

/** The progress of one part of the settlement. */
export type Settled = 'pending' | 'settled' | 'failed';

/** The name on the invoice. */
export function invoiceSubject({ name, lastName }: { name: string; lastName: string | null }): string {
  return `${name} ${lastName}`;
}
