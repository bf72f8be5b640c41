import { duration, share } from './format.js';
import type { Outcome, Report, Verdict } from './report.js';
import { confidence } from './statistics.js';

const HEADINGS = ['STEP', 'ANSWERED', 'WAIT P50', 'P99', 'LOST', 'MISSING', 'DUPLICATED', 'STUCK'];

/** All measurements as a table for a terminal, a legend, and the claims with their verdicts. */
export function terminalTable(report: Report): string {
  const rows = report.faults.flatMap(({ name, title }) => [
    [`\n${title[0]!.toUpperCase()}${title.slice(1)}`],
    ...report.steps.flatMap(({ number, title: step }) => {
      const outcome = report.outcomes.find((it) => it.step === number && it.fault === name);
      return outcome ? [[`  ${number} ${step}`, ...cells(outcome)]] : [];
    }),
    ...inapplicable(report, name),
  ]);
  return [columns([HEADINGS, ...rows]), LEGEND, claims(report)].join('\n\n');
}

/** The steps that can't have a fault: one line for each reason. */
function inapplicable(report: Report, fault: string): string[][] {
  const reasons = new Map<string, number[]>();
  for (const { step, fault: name, why } of report.inapplicable) {
    if (name === fault) reasons.set(why, [...(reasons.get(why) ?? []), step]);
  }
  return [...reasons].map(([why, steps]) => [`  ${steps.join(', ')}`, `–  ${why}`]);
}

function cells({ answered, requests, p50Ms, p99Ms, lost, missing, duplicated, stuck, rested }: Outcome): string[] {
  const counts = [lost, missing, duplicated, stuck].map((count) => String(count));
  const waits = [duration(p50Ms), duration(p99Ms)];
  return [`${answered} of ${requests}`, ...waits, ...counts, ...(rested ? [] : ['still working when counted'])];
}

const LEGEND = `ANSWERED    users who were answered with success; each user asks once
WAIT        the wait of all users, with any answer
LOST        rides whose user was answered with success, but that are not completed when the step has come to rest
MISSING     effects that completed rides lack: the driver's fee, the free driver, miles, invoice
DUPLICATED  invoices and miles beyond the first of a ride
STUCK       rides that are still not settled after the fault is over and their users have asked once more`;

const VERDICTS: Readonly<Record<Verdict, string>> = {
  confirmed: 'CONFIRMED',
  'not confirmed': 'NOT CONFIRMED',
  'not measurable': 'NOT MEASURABLE',
};

function claims({ expectations }: Report): string {
  return expectations
    .map(({ claim, verdict, measured }) => `${VERDICTS[verdict].padEnd(14)} ${claim}\n${' '.repeat(15)}${measured}`)
    .join('\n');
}

/** Aligns the first column to the left and the others to the right. A row with fewer cells is not aligned. */
function columns(rows: readonly string[][]): string {
  const full = rows.filter((row) => row.length >= HEADINGS.length);
  const widths = HEADINGS.map((_, column) => Math.max(...full.map((row) => row[column]!.length)));
  return rows
    .map((row) =>
      row
        .map((cell, column) => {
          if (column === 0) return cell.padEnd(row.length > 1 ? widths[0]! : 0);
          return row.length < HEADINGS.length || column >= HEADINGS.length
            ? `  ${cell}`
            : `  ${cell.padStart(widths[column]!)}`;
        })
        .join(''),
    )
    .join('\n');
}

/** A Markdown table for the README: one line for each step, one column for each fault. */
export function markdownTable(report: Report): string {
  const of = (step: number, fault: string) => report.outcomes.find((it) => it.step === step && it.fault === fault);
  const shown = COLUMNS.filter(({ fault }) => report.faults.some(({ name }) => name === fault));
  const rows = report.steps.map(({ number, title }) => [
    `${number} ${title}`,
    ...shown.map(({ fault, show }) => {
      const outcome = of(number, fault);
      return outcome ? show(outcome) : '–';
    }),
  ]);
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  const heads = ['step', ...shown.map(({ head }) => head)];
  return [heads, heads.map((_, column) => (column === 0 ? '---' : '--:')), ...rows].map(line).join('\n');
}

const COLUMNS: readonly { fault: string; head: string; show: (it: Outcome) => string }[] = [
  { fault: 'none', head: 'wait, p50', show: ({ p50Ms }) => duration(p50Ms) },
  { fault: 'slow', head: 'invoicing 200 ms slower: wait, p99', show: ({ p99Ms }) => duration(p99Ms) },
  {
    fault: 'down',
    head: 'invoicing down for 5 s: answered',
    show: ({ answered, requests }) => share(answered, requests),
  },
  {
    fault: 'failing',
    head: '1 % of remote calls fail: answered',
    show: ({ answered, requests }) => {
      const { low, high } = confidence(answered, requests);
      return `${share(answered, requests)} (${(100 * low).toFixed(1)} to ${(100 * high).toFixed(1)})`;
    },
  },
  {
    fault: 'failing',
    head: '… effects missing / doubled',
    show: ({ missing, duplicated }) => `${missing} / ${duplicated}`,
  },
  { fault: 'killed', head: 'killed: rides lost / stuck', show: ({ lost, stuck }) => `${lost} / ${stuck}` },
  { fault: 'twice', head: 'messages twice: effects doubled', show: ({ duplicated }) => String(duplicated) },
];
