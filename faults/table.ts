import type { Result } from './run.js';

/** The results of all combinations as a table for a terminal. */
export function table(results: readonly Result[]): string {
  const head = [
    '',
    'accepted',
    'settled',
    'lost',
    'duplicated',
    'dead',
    'stuck',
    'disordered',
    'kills',
    'faults',
    'surprises',
  ];
  const total = (faults: Readonly<Record<string, number>>) => Object.values(faults).reduce((sum, n) => sum + n, 0);
  const rows = results.map((it) => [
    it.combination,
    ...[
      it.accepted,
      it.settled,
      it.lost,
      it.duplicated,
      it.dead,
      it.stuck,
      it.disordered,
      it.kills,
      total(it.faults),
    ].map(String),
    String(it.surprises.length),
  ]);
  const all = [head, ...rows];
  const widths = head.map((_, column) => Math.max(...all.map((row) => row[column]!.length)));
  const line = (row: readonly string[]) =>
    row.map((cell, column) => (column === 0 ? cell.padEnd(widths[0]!) : cell.padStart(widths[column]!))).join('  ');
  const leftOut = [...new Set(results.flatMap((it) => it.leftOut))].map((it) => `Left out: ${it}`);
  return [...all.map(line), ...leftOut].join('\n');
}
