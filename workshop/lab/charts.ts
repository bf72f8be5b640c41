import type { Outcome } from './lab.js';

/** Text that is HTML already. Whatever else gets into `markup` is escaped there, so that nobody can forget it. */
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

function written(piece: Piece): string {
  if (piece instanceof Markup) return piece.toString();
  if (typeof piece === 'object') return piece.map(written).join('');
  return String(piece).replace(/[&<>"']/g, (it) => ENTITIES[it]!);
}

/** A template of HTML or SVG. */
export function markup(strings: TemplateStringsArray, ...pieces: readonly Piece[]): Markup {
  return new Markup(strings.map((text, index) => text + written(pieces[index] ?? '')).join(''));
}

/** A step under one fault: what came of it, or why nothing did. */
export interface Column {
  readonly number: number;
  readonly title: string;
  readonly outcome?: Outcome;
  /** Where there is no outcome. */
  readonly why: string;
}

/** What may go wrong with rides, in the order of charts and tables. */
export const HARMS = ['lost', 'missing', 'duplicated', 'stuck'] as const;

/** Without its sign. All and none are only said of all and none: 2999 of 3000 are 99.9, not 100. */
export function percent(part: number, all: number): string {
  if (all === 0) return '0';
  if (part === 0 || part === all) return String((part / all) * 100);
  return String(Math.min(99.9, Math.max(0.1, Math.round((part / all) * 1000) / 10)));
}

/** A wait, in ms if it doesn't say otherwise: that keeps the labels of a chart short. */
export function brief(ms: number): string {
  if (ms >= 9950) return `${Math.round(ms / 1000)} s`;
  if (ms >= 999.5) return `${(ms / 1000).toFixed(1)} s`;
  return ms.toFixed(ms < 9.95 ? 1 : 0);
}

export function duration(ms: number): string {
  const text = brief(ms);
  return text.endsWith('s') ? text : `${text} ms`;
}

const WIDTH = 360;
const LEFT = 68;
const RIGHT = 4;
const BAR = 18;
/** A bar of anything at all is as high as this, lest it be taken for nothing. */
const LEAST = 3;

/** Coordinates as short as they may be. */
const at = (value: number) => Math.round(value * 10) / 10;

interface Chart {
  /** For those who don't see it. */
  readonly label: string;
  readonly height: number;
  readonly columns: readonly Column[];
  /** Where a column without an outcome has its dashes. */
  readonly baselines: readonly number[];
  /** Axes and the like. */
  readonly behind: Piece;
  /** Of a column, for whoever points at it. */
  readonly tell: (outcome: Outcome) => string;
  readonly draw: (outcome: Outcome, x: number) => Piece;
}

/** What all charts have in common: a column for each step, above its number. */
function chart({ label, height, columns, baselines, behind, tell, draw }: Chart): Markup {
  const slot = (WIDTH - LEFT - RIGHT) / columns.length;
  const marks = columns.map(({ number, title, outcome, why }, index) => {
    const x = at(LEFT + slot * (index + 0.5));
    const dashes = () => baselines.map((y) => markup`<text class="absent" x="${x}" y="${y - 4}">–</text>`);
    return markup`<g class="mark"><title>Step ${number}, ${title}: ${outcome ? tell(outcome) : why}</title>
<rect class="slot" x="${at(x - slot / 2)}" y="0" width="${at(slot)}" height="${height}"/>
${outcome ? draw(outcome, x) : dashes()}<text class="step" x="${x}" y="${height - 4}">${number}</text></g>`;
  });
  return markup`<svg role="img" viewBox="0 0 ${WIDTH} ${height}"><title>${label}</title>
${behind}<text class="axis" x="${LEFT - 6}" y="${height - 4}">step</text>
${marks}</svg>`;
}

/** A line across, with what it stands for at its left. */
function line(y: number, text: string, kind: 'grid' | 'base' = 'grid'): Markup {
  return markup`<line class="${kind}" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${at(y)}" y2="${at(y)}"/>
<text class="axis" x="${LEFT - 6}" y="${at(y + 4)}">${text}</text>`;
}

/** A bar that stands at `y`, and its figure above it. Zero is a figure on the bare line. */
function bar(kind: string, x: number, y: number, height: number, text: string): Markup {
  const tall = at(height > 0 ? Math.max(LEAST, height) : 0);
  return markup`<rect class="bar ${kind}" x="${at(x - BAR / 2)}" y="${at(y - tall)}" width="${BAR}" height="${tall}"/>
<text class="figure ${kind}" x="${x}" y="${at(y - tall - 4)}">${text}</text>`;
}

/** How many were answered with success, as bars. */
export function successChart(label: string, columns: readonly Column[]): Markup {
  const [top, bottom] = [20, 120];
  return chart({
    ...{ label, columns, height: 142, baselines: [bottom] },
    behind: [line(top, '100 %'), line((top + bottom) / 2, '50 %'), line(bottom, '0 %', 'base')],
    tell: ({ answered, requests }) => `${answered} of ${requests} answered with success`,
    draw: ({ answered, requests }, x) => {
      const share = requests === 0 ? 0 : answered / requests;
      return bar('good', x, bottom, share * (bottom - top), percent(answered, requests));
    },
  });
}

/** From one power of ten to another, in ms. */
export type Decades = readonly [from: number, to: number];

/** Waits of less than 0.01 ms aren't any: zero, which has no logarithm, stands for no wait at all. */
const log = (ms: number) => Math.log10(Math.max(0.01, ms));

/** An axis for all that charts side by side have to show. */
export function decadesOf(columns: readonly Column[]): Decades {
  const waits = columns.flatMap(({ outcome }) => (outcome ? [log(outcome.p50Ms), log(outcome.p99Ms)] : []));
  const from = Math.floor(Math.min(...waits, 1));
  return [from, Math.max(from + 1, Math.ceil(Math.max(...waits)))];
}

/** The waits of users on a logarithmic axis: a line from p50, a dot, to p99, a diamond. */
export function waitChart(label: string, columns: readonly Column[], [from, to]: Decades): Markup {
  const [top, bottom] = [20, 190];
  const y = (power: number) => at(bottom - ((power - from) / (to - from)) * (bottom - top));
  const powers = Array.from({ length: to - from + 1 }, (_, index) => from + index);
  const nameOf = (power: number) => (power < 3 ? `${10 ** power} ms` : `${10 ** (power - 3)} s`);
  return chart({
    ...{ label, columns, height: 226, baselines: [bottom] },
    behind: powers.map((power) => line(y(power), nameOf(power))),
    tell: ({ p50Ms, p99Ms }) => `p50 ${duration(p50Ms)}, p99 ${duration(p99Ms)}`,
    draw: ({ p50Ms, p99Ms }, x) => {
      const [low, high] = [y(log(p50Ms)), y(log(p99Ms))];
      return markup`<line class="span" x1="${x}" x2="${x}" y1="${low}" y2="${high}"/>
<path class="p99" d="M${x} ${at(high - 5)}l5 5l-5 5l-5-5z"/><circle class="p50" cx="${x}" cy="${low}" r="4"/>
<text class="figure" x="${x}" y="${at(high - 8)}">${brief(p99Ms)}</text>
<text class="figure" x="${x}" y="${at(low + 15)}">${brief(p50Ms)}</text>`;
    },
  });
}

/** What went wrong with rides: a row of bars for each kind of harm, all on one scale. */
export function harmChart(label: string, columns: readonly Column[]): Markup {
  const ROW = 42;
  const most = Math.max(1, ...columns.flatMap(({ outcome }) => HARMS.map((harm) => outcome?.[harm] ?? 0)));
  const rows = HARMS.map((harm, index) => ({ harm, y: (index + 1) * ROW }));
  return chart({
    ...{ label, columns, height: HARMS.length * ROW + 28, baselines: rows.map(({ y }) => y) },
    behind: rows.map(({ harm, y }) => line(y, harm, 'base')),
    tell: (outcome) => HARMS.map((harm) => `${outcome[harm]} ${harm}`).join(', '),
    draw: (outcome, x) =>
      rows.map(({ harm, y }) => {
        const count = outcome[harm];
        return bar(count > 0 ? 'bad' : 'zero', x, y, (count / most) * (ROW - 18), String(count));
      }),
  });
}
