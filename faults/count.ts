import { SETTLEMENT, type DatabaseContents, type TransitState } from './database-contents.js';
import { COMPLETE, groupBy, handledOutOfOrder, handledTwice, type Defect } from './handlings.js';
import type { Action, Entry, Ledger } from './ledger.js';

/** The outcome of a combination. `accepted` and `settled` count transits whose completion was answered with a success. */
export interface Verdict {
  readonly accepted: number;
  readonly settled: number;
  readonly lost: number;
  readonly duplicated: number;
  readonly dead: number;
  readonly stuck: number;
  /** Messages that were handled before messages of the same key that had been sent earlier. */
  readonly disordered: number;
  readonly defects: readonly Defect[];
}

const STATUS_ORDER = [
  'DRAFT',
  'WAITING_FOR_DRIVER_ASSIGNMENT',
  'ACCEPTING',
  'TRANSIT_TO_PASSENGER',
  'IN_TRANSIT',
  'COMPLETING',
  'COMPLETED',
];
/** The status that a transit has to have reached at least after an action was accepted. */
const REACHED_STATUS: Partial<Record<Action, string>> = {
  request: 'DRAFT',
  publish: 'WAITING_FOR_DRIVER_ASSIGNMENT',
  accept: 'ACCEPTING',
  start: 'IN_TRANSIT',
  complete: 'COMPLETING',
};
const EFFECTS = ['fees', 'miles', 'invoices'] as const;
/** The types of all messages that have to be handled before a transit is settled. */
export const REQUIRED_TYPES = [
  COMPLETE,
  'cabs.drivers.calculate-fee',
  'cabs.drivers.driver-fee',
  'cabs.drivers.driver-free',
  'cabs.drivers.driver-freed',
  'cabs.loyalty.register-miles',
  'cabs.loyalty.miles-registered',
  'cabs.invoicing.issue-invoice',
  'cabs.invoicing.invoice-issued',
];

/** Compares the accepted requests with the contents of the databases. */
export function count(ledger: Pick<Ledger, 'entries'>, contents: DatabaseContents): Verdict {
  const lost = ledger.entries
    .filter((it) => isLost(it, contents))
    .map(({ action, id }): Defect => ({ id, what: `${action} is lost` }));
  const accepted = new Set(ledger.entries.filter(({ action }) => action === 'complete').map(({ id }) => id));
  const duplicated = handledTwice(contents.handlings);
  const disordered = handledOutOfOrder(contents.handlings);
  const stuck: Defect[] = [];
  const handled = groupBy(contents.handlings, ({ subject }) => subject);
  let settled = 0;
  for (const [id, transit] of contents.transits) {
    const isCompleted = transit.status === 'COMPLETED';
    const duplicates = EFFECTS.filter((it) => transit[it] > (isCompleted ? 1 : 0)).map((it) => `${transit[it]} ${it}`);
    if (duplicates.length > 0) duplicated.push({ id, what: `${duplicates.join(', ')} (${transit.status})` });
    const missing = missingOf(transit, contents);
    // A missing handling means that the agent would not have seen a duplicate of that message either.
    const unhandled = isCompleted
      ? REQUIRED_TYPES.filter((it) => !handled.get(id)?.some(({ type }) => type === it))
      : [];
    missing.push(...unhandled.map((it) => `no consumer has handled ${it}`));
    if (missing.length > 0) stuck.push({ id, what: missing.join(', ') });
    else if (accepted.has(id) && isCompleted && duplicates.length === 0) settled++;
  }
  for (const [client, transactions] of contents.accounts) {
    const transits = [...contents.transits.values()];
    const expected = transits.filter((it) => String(it.clientId) === client && it.miles > 0).length;
    const defect = { id: `client ${client}`, what: `${transactions} transactions instead of ${expected}` };
    if (transactions > expected) duplicated.push(defect);
    if (transactions < expected) stuck.push(defect);
  }
  for (const { type, subject } of contents.pending) stuck.push({ id: subject ?? '?', what: `${type} has not arrived` });
  for (const { type, subject } of contents.deadLetters) {
    stuck.push({ id: subject ?? '?', what: `${type} is a dead letter` });
  }
  return {
    accepted: accepted.size,
    settled,
    dead: contents.deadLetters.length,
    lost: distinct(lost),
    duplicated: distinct(duplicated),
    stuck: distinct(stuck),
    disordered: disordered.length,
    defects: [...lost, ...duplicated, ...stuck, ...disordered],
  };
}

function distinct(defects: readonly Defect[]): number {
  return new Set(defects.map(({ id }) => id)).size;
}

function isLost({ action, id }: Entry, contents: DatabaseContents): boolean {
  const { transits, clients, drivers, accounts, active } = contents;
  if (action === 'client') return !clients.has(id);
  if (action === 'driver') return !drivers.has(id);
  if (action === 'account') return !accounts.has(id);
  if (action === 'activated') return !active.has(id);
  const status = transits.get(id)?.status ?? '';
  if (action === 'cancel') return status !== 'CANCELLED';
  // A transit can be cancelled after each step before its start.
  if (status === 'CANCELLED') return action === 'start' || action === 'complete';
  return STATUS_ORDER.indexOf(status) < STATUS_ORDER.indexOf(REACHED_STATUS[action]!);
}

/** What a transit still waits for, although no message is in flight. */
function missingOf(transit: TransitState, { accounts, active }: DatabaseContents): string[] {
  if (transit.status === 'COMPLETING' || transit.status === 'ACCEPTING') return [`it is ${transit.status}`];
  if (transit.status === 'CANCELLED') return transit.occupied ? ['it is cancelled, and its driver is not free'] : [];
  if (transit.status !== 'COMPLETED') return [];
  const client = String(transit.clientId);
  const collectsMiles = accounts.has(client) && active.has(client);
  return [
    ...SETTLEMENT.filter((it) => !transit.settled.includes(it)).map((it) => `${it} is not settled`),
    ...(transit.fees === 0 ? ['no fee'] : []),
    ...(transit.invoices === 0 ? ['no invoice'] : []),
    ...(transit.miles === 0 && collectsMiles ? ['no miles'] : []),
    ...(transit.occupied ? ['its driver is not free'] : []),
  ];
}
