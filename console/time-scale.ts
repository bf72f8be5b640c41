/** A place on the time axis where nothing happened for so long that it is drawn short. */
export interface Gap {
  readonly x: number;
  readonly ms: number;
}

export interface TimeScale {
  /** The place of a time (ms since 1970) in px. */
  readonly x: (at: number) => number;
  readonly gaps: readonly Gap[];
  /** What the axis shows as one px, in ms. */
  readonly msPerPx: number;
}

const GAP_PX = 56;
/** A pause is drawn short when it is longer than this part of the time in which something happened. */
const LONG = 0.5;
const MIN_GAP_MS = 20;

/** A time axis without the long pauses: a ride waits for minutes, and is settled in milliseconds. */
export function timeScale(spans: readonly { from: number; to: number }[], width: number): TimeScale {
  const busy = merged(spans);
  const pauses = busy.slice(1).map(({ from }, index) => from - busy[index]!.to);
  const total = busy.reduce((sum, { from, to }) => sum + to - from, 0);
  let shown = Math.max(1, total);
  const isLong = pauses.map((ms) => ms > Math.max(MIN_GAP_MS, LONG * total));
  pauses.forEach((ms, index) => (shown += isLong[index] ? 0 : ms));
  const pxPerMs = Math.max(0, width - GAP_PX * isLong.filter(Boolean).length) / shown;
  const gaps: Gap[] = [];
  let x = 0;
  const starts = busy.map((span, index) => {
    const start = x;
    const pause = pauses[index] ?? 0;
    x += (span.to - span.from) * pxPerMs;
    if (isLong[index]) gaps.push({ x: x + GAP_PX / 2, ms: pause });
    x += isLong[index] ? GAP_PX : pause * pxPerMs;
    return { ...span, start };
  });
  return {
    gaps,
    msPerPx: 1 / pxPerMs,
    x: (at) => {
      const span = starts.findLast(({ from }) => from <= at) ?? starts[0];
      return span ? span.start + (Math.min(at, span.to) - span.from) * pxPerMs : 0;
    },
  };
}

/** The spans in which something happened, in order, without overlaps. */
function merged(spans: readonly { from: number; to: number }[]): { from: number; to: number }[] {
  const result: { from: number; to: number }[] = [];
  for (const { from, to } of [...spans].sort((a, b) => a.from - b.from)) {
    const last = result.at(-1);
    if (last && from <= last.to) last.to = Math.max(last.to, to);
    else result.push({ from, to });
  }
  return result;
}
