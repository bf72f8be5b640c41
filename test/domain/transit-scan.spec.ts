import { positionAfter, scanAfter, type ScannedTransit } from '../../src/modules/rides/transit-scan.js';

const HOUR_MS = 3_600_000;
const END = Date.parse('2026-11-30T00:00:00.000Z');

/** Whole rides, an hour apart, the latest first. */
function rides(from: number, to: number, changes: Partial<ScannedTransit> = {}): ScannedTransit[] {
  return Array.from({ length: to - from }, (_, n) => ({
    id: `ride-${from + n}`,
    status: 'COMPLETED',
    wholeIn: changes.status ?? 'COMPLETED',
    requestedAt: new Date(END - (from + n) * HOUR_MS).toISOString(),
    ...changes,
  }));
}

/** The scopes in which pages are read, as a run goes on. */
function scopes(pages: readonly ScannedTransit[][], lacking: readonly string[] = [], isFull = false): string[] {
  let position: string | undefined;
  return pages.map((page) => {
    position = positionAfter(scanAfter(position, isFull), page, { examined: page, lacking: new Set(lacking) });
    return scanAfter(position, false).scope;
  });
}

describe('The scan of the reconcile loop', () => {
  it('leaves out whole rides after 25 that lack nothing', () => {
    expect(scopes([rides(0, 24), rides(24, 25), rides(25, 50)])).toEqual(['probe', 'transit', 'transit']);
  });

  it('learns nothing from rides that are new or have no effects in all modules', () => {
    const few = [rides(0, 50, { wholeIn: '' }), rides(50, 100, { status: 'DRAFT' }), rides(100, 124)];
    expect(scopes([...few, rides(124, 125)])).toEqual(['probe', 'probe', 'probe', 'transit']);
  });

  it('reads on until a day before the earliest whole ride that lacks something', () => {
    const pages = [rides(0, 30), rides(30, 54), rides(54, 55), rides(55, 80)];
    expect(scopes(pages, ['ride-29'])).toEqual(['probe', 'probe', 'transit', 'transit']);
    expect(scopes(pages, ['ride-0', 'ride-29', 'ride-54'])).toEqual(['probe', 'probe', 'probe', 'transit']);
  });

  it('does not read on for a ride that was never whole', () => {
    expect(scopes([[...rides(0, 30), ...rides(30, 31, { wholeIn: 'DRAFT' })]], ['ride-30'])).toEqual(['transit']);
  });

  it('reads all rides in a full run', () => {
    expect(scopes([rides(0, 50), rides(50, 100)], [], true)).toEqual(['full', 'full']);
  });
});
