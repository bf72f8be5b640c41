import { CalculateFee, FreeDriver, OccupyDriver } from '../drivers/contract.js';
import { UpdateDestination, type Address } from '../geolocation/contract.js';
import { IssueInvoice } from '../invoicing/contract.js';
import { RegisterMiles } from '../loyalty/contract.js';
import { CompleteTransit } from './contract.js';
import type { Settled, Status } from './transit.js';

/** What decides on the effects of a transit. */
export interface TransitState {
  readonly id: string;
  readonly status: Status;
  readonly clientId: number;
  readonly clientName: string;
  readonly driverId: number | null;
  readonly attempt: number;
  readonly pickup: Address;
  readonly destination: Address;
  readonly reached: Address | null;
  readonly price: number | null;
  readonly driverFeeSettled: Settled;
  readonly driverFreedSettled: Settled;
  readonly milesSettled: Settled;
  readonly invoiceSettled: Settled;
}

/** What a transit in its present state has to cause, here or in another module. */
export interface Effect {
  /** Its name in the reports of the reconcile loop. */
  readonly name: 'route' | 'driverOccupied' | 'driverFreed' | 'completion' | 'driverFee' | 'miles' | 'invoice';
  /** Causes the effect. Its handler is idempotent, and answers again. */
  readonly command: object;
  /** Whether rides waits for no answer: it came, or none is needed. */
  readonly isAnswered: boolean;
}

/** All effects that a transit should have by now. */
export function effectsOf(transit: TransitState): Effect[] {
  const route = new UpdateDestination(transit.id, { from: transit.pickup, destination: transit.destination });
  return [{ name: 'route', command: route, isAnswered: true }, ...effectsOfStatus(transit)];
}

/** The commands whose answers rides has not received. The command or its answer is in flight, or lost. */
export function unansweredCommands(transit: TransitState): object[] {
  return effectsOf(transit)
    .filter(({ isAnswered }) => !isAnswered)
    .map(({ command }) => command);
}

function effectsOfStatus(transit: TransitState): Effect[] {
  const { id, status, driverId, attempt, reached } = transit;
  if (status === 'COMPLETING') {
    if (!reached) return [];
    const completion = new CompleteTransit(id, { transitId: id, destination: reached });
    return [{ name: 'completion', command: completion, isAnswered: false }];
  }
  if (driverId === null) return [];
  if (status === 'COMPLETED') return settlementOf(transit, driverId);
  if (status === 'CANCELLED') return [driverFreed(transit, driverId)];
  // Rides of older versions count no attempts.
  const occupy = new OccupyDriver(id, { driverId, ...(attempt > 0 && { attempt }) });
  return [{ name: 'driverOccupied', command: occupy, isAnswered: status !== 'ACCEPTING' }];
}

function settlementOf(transit: TransitState, driverId: number): Effect[] {
  const { id, clientId, clientName } = transit;
  const price = transit.price!;
  const fee = new CalculateFee(id, { driverId, transitPrice: price });
  const miles = new RegisterMiles(id, { clientId });
  const invoice = new IssueInvoice(id, { amount: price, subjectName: clientName });
  const driverFee: Effect = { name: 'driverFee', command: fee, isAnswered: isSettled(transit.driverFeeSettled) };
  return [
    // A refused fee is final.
    ...(transit.driverFeeSettled === 'failed' ? [] : [driverFee]),
    driverFreed(transit, driverId),
    { name: 'miles', command: miles, isAnswered: isSettled(transit.milesSettled) },
    { name: 'invoice', command: invoice, isAnswered: isSettled(transit.invoiceSettled) },
  ];
}

function driverFreed({ id, driverFreedSettled }: TransitState, driverId: number): Effect {
  return { name: 'driverFreed', command: new FreeDriver(id, { driverId }), isAnswered: isSettled(driverFreedSettled) };
}

function isSettled(settled: Settled): boolean {
  return settled === 'settled';
}
