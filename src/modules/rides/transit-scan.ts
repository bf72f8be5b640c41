import type { Status } from './transit.js';

/** What the reconcile loop has to know of a transit to read on. */
export interface ScannedTransit {
  readonly id: string;
  readonly status: Status;
  /** The status in which a run has found all effects. */
  readonly wholeIn: Status | '';
  readonly requestedAt: string;
}

/**
 * Which transits a page of the reconcile loop reads, as its position tells.
 *
 * A transit is whole when a run has found all its effects in its present status. Runs don't read whole transits again, with
 * two exceptions. A run that was asked for it reads all (`full`). And each run begins with the latest transits, whole or not
 * (`probe`): a module that was restored from a backup has lost its latest rows. When something of a whole transit is missing,
 * the run reads on in this way until a day before the earliest such transit; a ride takes less than a day. Then it reads only
 * transits that aren't whole (`transit`). Rows that were deleted in the midst of the history are found by a full run only.
 */
export interface TransitScan {
  readonly scope: 'full' | 'probe' | 'transit';
  /** The last transit of the page before. */
  readonly requestedAt?: string;
  readonly id?: string;
  /** Completed transits in a row that were whole and lack nothing; completed ones have effects in all modules. */
  readonly intact?: number;
  /** When the earliest whole transit that lacks something was requested. */
  readonly lackedAt?: string;
}

const DAY_MS = 86_400_000;
/** Intact transits after which a module has lost nothing lately. */
const ENOUGH_INTACT = 25;

/** Whether a run has found all effects of a transit in its present status. */
export function isWhole({ wholeIn, status }: ScannedTransit): boolean {
  return wholeIn === status;
}

/** Transits with a driver that aren't over. They are few, and examined by each run. */
export function isOnItsWay({ status }: ScannedTransit): boolean {
  return ['ACCEPTING', 'TRANSIT_TO_PASSENGER', 'IN_TRANSIT', 'COMPLETING'].includes(status);
}

/** @param position `<scope> <requestedAt> <id>[ <intact>[ <lackedAt>]]`, or absent at the beginning of a run */
export function scanAfter(position: string | undefined, isFull: boolean): TransitScan {
  if (position === undefined) return { scope: isFull ? 'full' : 'probe' };
  const [scope, requestedAt, id, intact = 0, lackedAt] = position.split(' ');
  const from = { scope: scope as TransitScan['scope'], requestedAt: requestedAt!, id: id! };
  return { ...from, intact: Number(intact), ...(lackedAt && { lackedAt }) };
}

/** What was found in a page. */
interface Findings {
  readonly examined: readonly ScannedTransit[];
  /** The ids of the transits that lack something. */
  readonly lacking: ReadonlySet<string>;
}

/** The position after a page. */
export function positionAfter(
  scan: TransitScan,
  page: readonly ScannedTransit[],
  { examined, lacking }: Findings,
): string {
  const { requestedAt, id } = page.at(-1)!;
  if (scan.scope !== 'probe') return `${scan.scope} ${requestedAt} ${id}`;
  const whole = examined.filter(isWhole);
  const latest = whole.findLastIndex((it) => lacking.has(it.id));
  const lackedAt = whole[latest]?.requestedAt ?? scan.lackedAt;
  const intact =
    (latest < 0 ? (scan.intact ?? 0) : 0) + whole.slice(latest + 1).filter((it) => it.status === 'COMPLETED').length;
  const isFarEnough = lackedAt === undefined || Date.parse(requestedAt) < Date.parse(lackedAt) - DAY_MS;
  if (isFarEnough && intact >= ENOUGH_INTACT) return `transit ${requestedAt} ${id}`;
  return ['probe', requestedAt, id, intact, ...(lackedAt ? [lackedAt] : [])].join(' ');
}
