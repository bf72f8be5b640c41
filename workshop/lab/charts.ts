import { chartDuration, chartLabel, percent } from './format.js';
import type { Outcome } from './report.js';

/** Text that is HTML already. `markup` escapes everything else. */
export class Markup {
  constructor(private readonly text: string) {}

  toString(): string {
    return this.text;
  }
}

type Piece = Markup | string | number | readonly Piece[];

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

function render(piece: Piece): string {
  if (piece instanceof Markup) return piece.toString();
  if (typeof piece === 'object') return piece.map(render).join('');
  return String(piece).replace(/[&<>"']/g, (it) => ENTITIES[it]!);
}

/** A template of HTML or SVG. */
export function markup(strings: TemplateStringsArray, ...pieces: readonly Piece[]): Markup {
  return new Markup(strings.map((text, index) => text + render(pieces[index] ?? '')).join(''));
}

/** A step under one fault: its outcome, or why there is none. */
export interface Column {
  readonly number: number;
  readonly title: string;
  readonly outcome?: Outcome;
  /** Why there is no outcome. */
  readonly why: string;
}

/** What can go wrong with rides, in the order of charts and tables. */
export const HARMS = ['lost', 'missing', 'duplicated', 'stuck'] as const;

const WIDTH = 360;
const LEFT = 68;
const RIGHT = 4;
const BAR = 18;
/** Least height of a bar that is not zero. */
const MIN_HEIGHT = 3;

/** Rounds a coordinate, to keep the page small. */
const round = (value: number) => Math.round(value * 10) / 10;

interface Chart {
  /** The text alternative. */
  readonly label: string;
  readonly height: number;
  readonly columns: readonly Column[];
  /** The y coordinates of the dashes of a column without an outcome. */
  readonly baselines: readonly number[];
  /** Axes and grid lines. */
  readonly behind: Piece;
  /** The tooltip of a column. */
  readonly tooltip: (outcome: Outcome) => string;
  readonly draw: (outcome: Outcome, x: number) => Piece;
}

/** Draws a column for each step, above the number of the step. */
function chart({ label, height, columns, baselines, behind, tooltip, draw }: Chart): Markup {
  const slot = (WIDTH - LEFT - RIGHT) / columns.length;
  const marks = columns.map(({ number, title, outcome, why }, index) => {
    const x = round(LEFT + slot * (index + 0.5));
    const dashes = () => baselines.map((y) => markup`<text class="absent" x="${x}" y="${y - 4}">–</text>`);
    return markup`<g class="mark"><title>Step ${number}, ${title}: ${outcome ? tooltip(outcome) : why}</title>
<rect class="slot" x="${round(x - slot / 2)}" y="0" width="${round(slot)}" height="${height}"/>
${outcome ? draw(outcome, x) : dashes()}<text class="step" x="${x}" y="${height - 4}">${number}</text></g>`;
  });
  return markup`<svg role="img" viewBox="0 0 ${WIDTH} ${height}"><title>${label}</title>
${behind}<text class="axis" x="${LEFT - 6}" y="${height - 4}">step</text>
${marks}</svg>`;
}

/** A horizontal line, with its label at the left. */
function line(y: number, text: string, kind: 'grid' | 'base' = 'grid'): Markup {
  return markup`<line class="${kind}" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${round(y)}" y2="${round(y)}"/>
<text class="axis" x="${LEFT - 6}" y="${round(y + 4)}">${text}</text>`;
}

/** A bar that stands at `y`, with its figure above it. For zero only the figure is drawn. */
function bar(kind: string, x: number, y: number, height: number, text: string): Markup {
  const tall = round(height > 0 ? Math.max(MIN_HEIGHT, height) : 0);
  return markup`<rect class="bar ${kind}" x="${round(x - BAR / 2)}" y="${round(y - tall)}" width="${BAR}" height="${tall}"/>
<text class="figure ${kind}" x="${x}" y="${round(y - tall - 4)}">${text}</text>`;
}

/** The percentage of users who were answered with success, as bars. */
export function successChart(label: string, columns: readonly Column[]): Markup {
  const [top, bottom] = [20, 120];
  return chart({
    label,
    columns,
    height: 142,
    baselines: [bottom],
    behind: [line(top, '100 %'), line((top + bottom) / 2, '50 %'), line(bottom, '0 %', 'base')],
    tooltip: ({ answered, requests }) => `${answered} of ${requests} answered with success`,
    draw: ({ answered, requests }, x) => {
      const share = requests === 0 ? 0 : answered / requests;
      return bar('good', x, bottom, share * (bottom - top), percent(answered, requests));
    },
  });
}

/** The range of a logarithmic axis: powers of ten, in ms. */
export type Decades = readonly [from: number, to: number];

/** Zero has no logarithm: less than 0.01 ms is drawn as 0.01 ms. */
const log = (ms: number) => Math.log10(Math.max(0.01, ms));

/** The common range for the charts of several faults. */
export function decadesOf(columns: readonly Column[]): Decades {
  const waits = columns.flatMap(({ outcome }) => (outcome ? [log(outcome.p50Ms), log(outcome.p99Ms)] : []));
  const from = Math.floor(Math.min(...waits, 1));
  return [from, Math.max(from + 1, Math.ceil(Math.max(...waits)))];
}

/** The waits of users on a logarithmic axis: a line from p50 (a dot) to p99 (a diamond). */
export function waitChart(label: string, columns: readonly Column[], [from, to]: Decades): Markup {
  const [top, bottom] = [20, 190];
  const y = (power: number) => round(bottom - ((power - from) / (to - from)) * (bottom - top));
  const powers = Array.from({ length: to - from + 1 }, (_, index) => from + index);
  const nameOf = (power: number) => (power < 3 ? `${10 ** power} ms` : `${10 ** (power - 3)} s`);
  return chart({
    label,
    columns,
    height: 226,
    baselines: [bottom],
    behind: powers.map((power) => line(y(power), nameOf(power))),
    tooltip: ({ p50Ms, p99Ms }) => `p50 ${chartDuration(p50Ms)}, p99 ${chartDuration(p99Ms)}`,
    draw: ({ p50Ms, p99Ms }, x) => {
      const [low, high] = [y(log(p50Ms)), y(log(p99Ms))];
      return markup`<line class="span" x1="${x}" x2="${x}" y1="${low}" y2="${high}"/>
<path class="p99" d="M${x} ${round(high - 5)}l5 5l-5 5l-5-5z"/><circle class="p50" cx="${x}" cy="${low}" r="4"/>
<text class="figure" x="${x}" y="${round(high - 8)}">${chartLabel(p99Ms)}</text>
<text class="figure" x="${x}" y="${round(low + 15)}">${chartLabel(p50Ms)}</text>`;
    },
  });
}

/** Rides and effects that went wrong: a row of bars for each kind, all on one scale. */
export function harmChart(label: string, columns: readonly Column[]): Markup {
  const ROW = 42;
  const most = Math.max(1, ...columns.flatMap(({ outcome }) => HARMS.map((harm) => outcome?.[harm] ?? 0)));
  const rows = HARMS.map((harm, index) => ({ harm, y: (index + 1) * ROW }));
  return chart({
    label,
    columns,
    height: HARMS.length * ROW + 28,
    baselines: rows.map(({ y }) => y),
    behind: rows.map(({ harm, y }) => line(y, harm, 'base')),
    tooltip: (outcome) => HARMS.map((harm) => `${outcome[harm]} ${harm}`).join(', '),
    draw: (outcome, x) =>
      rows.map(({ harm, y }) => {
        const count = outcome[harm];
        return bar(count > 0 ? 'bad' : 'zero', x, y, (count / most) * (ROW - 18), String(count));
      }),
  });
}
