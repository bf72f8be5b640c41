import { briefly, keyOf, nameOf } from './entry';
import type { Entry } from './mesh-types';
import { timeScale, type Gap } from './time-scale';

export interface Bar {
  readonly key: string;
  readonly entry: Entry;
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly text: string;
  /** The length of the bar with its text. */
  readonly room: number;
}

export interface Lane {
  readonly name: string;
  readonly y: number;
  readonly height: number;
}

export interface TimelineLayout {
  readonly lanes: readonly Lane[];
  readonly bars: readonly Bar[];
  /** From a message to those that it caused. */
  readonly arrows: readonly { readonly from: Bar; readonly to: Bar }[];
  readonly gaps: readonly Gap[];
  /** A duration and its length, to read the chart by. */
  readonly ruler: { readonly ms: number; readonly px: number };
  readonly height: number;
}

export const LANE_NAME_PX = 124;
export const BAR_PX = 18;
export const HEADER_PX = 30;
const ROW_PX = 30;
const LANE_GAP_PX = 12;
const MIN_BAR_PX = 7;
const LETTER_PX = 7;
/** Room at the end for the text of the last bar. */
const TEXT_PX = 250;

/** One lane for each consumer, in the order in which they came in; bars that would overlap are in rows of their own. */
export function layOutTimeline(entries: readonly Entry[], width: number): TimelineLayout {
  const spans = entries.map((entry) => {
    const [from, handled] = [Date.parse(entry.createdAt), Date.parse(entry.handledAt)];
    // Clocks of two processes may differ.
    return { entry, from, to: Math.max(from, handled) };
  });
  spans.sort((a, b) => a.from - b.from || a.to - b.to);
  const scale = timeScale(spans, width - LANE_NAME_PX - TEXT_PX);
  const bars: Bar[] = [];
  const lanes: Lane[] = [];
  let y = HEADER_PX;
  for (const name of new Set(spans.map(({ entry }) => entry.consumer))) {
    const rowEnds: number[] = [];
    for (const { entry, from, to } of spans.filter((it) => it.entry.consumer === name)) {
      const x = LANE_NAME_PX + scale.x(from);
      const length = Math.max(MIN_BAR_PX, LANE_NAME_PX + scale.x(to) - x);
      const text = [nameOf(entry.type), briefly(entry)].filter(Boolean).join(' ');
      const room = length + Math.min(text.length, 44) * LETTER_PX + 6;
      const free = rowEnds.findIndex((it) => it <= x);
      const row = free < 0 ? rowEnds.length : free;
      rowEnds[row] = x + room + 10;
      bars.push({ key: keyOf(entry), entry, x, y: y + LANE_GAP_PX / 2 + row * ROW_PX + 6, width: length, text, room });
    }
    const height = rowEnds.length * ROW_PX + LANE_GAP_PX;
    lanes.push({ name, y, height });
    y += height;
  }
  const gaps = scale.gaps.map((gap) => ({ ...gap, x: gap.x + LANE_NAME_PX }));
  return { lanes, bars, arrows: arrowsBetween(bars), gaps, ruler: rulerOf(scale.msPerPx), height: y + 4 };
}

/** 1, 2 or 5 with zeros, about as long as a word. */
function rulerOf(msPerPx: number) {
  const longest = msPerPx * 120;
  const power = 10 ** Math.floor(Math.log10(longest));
  const ms = [5, 2, 1].map((digit) => digit * power).find((it) => it <= longest) ?? power;
  return { ms, px: ms / msPerPx };
}

function arrowsBetween(bars: readonly Bar[]) {
  return bars.flatMap((to) => {
    const { causationId, source } = to.entry;
    const causes = bars.filter(({ entry }) => causationId !== null && entry.id === causationId);
    // An event has several consumers: the effect's source is the one that was the cause.
    const from = causes.find(({ entry }) => source.endsWith(`/${entry.consumer}`)) ?? causes[0];
    return from ? [{ from, to }] : [];
  });
}
