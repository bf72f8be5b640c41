import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { attemptsOf } from './entry';
import { duration, preciseTime } from './format';
import type { Entry } from './mesh-types';
import { BAR_PX, HEADER_PX, LANE_NAME_PX, layOutTimeline, type Bar } from './timeline-layout';

interface ChartProps {
  readonly entries: readonly Entry[];
  readonly selected?: Entry;
  readonly select: (entry: Entry) => void;
}

/** Below this width the chart scrolls, in px. */
const MIN_WIDTH = 680;

export function TimelineChart({ entries, selected, select }: ChartProps) {
  const box = useRef<HTMLDivElement>(null);
  const width = Math.max(MIN_WIDTH, useWidth(box));
  const { lanes, bars, arrows, gaps, ruler, height } = useMemo(() => layOutTimeline(entries, width), [entries, width]);
  return (
    <div ref={box} class="card timeline scroll">
      <svg width={width} height={height} viewBox={`0 0 ${width} ${height}`} role="group" aria-label="Timeline">
        <defs>
          <marker id="effect" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto">
            <path class="effect-head" d="M0 0L10 5L0 10z" />
          </marker>
        </defs>
        {lanes.map(({ name, y, height }, index) => (
          <g key={name} class={index % 2 === 0 ? 'lane' : 'lane odd'}>
            <rect x="0" y={y} width={width} height={height} />
            <text x="12" y={y + height / 2} dominant-baseline="central">
              {name.length > 14 ? `${name.slice(0, 13)}…` : name}
            </text>
          </g>
        ))}
        {gaps.map(({ x, ms }) => (
          <g key={x} class="gap">
            <line x1={x} y1={HEADER_PX} x2={x} y2={height} />
            <text x={x} y="18" text-anchor="middle">
              {duration(ms)}
            </text>
          </g>
        ))}
        {bars.length > 0 && (
          <text class="axis" x={LANE_NAME_PX} y="18">
            {preciseTime(Math.min(...bars.map(({ entry }) => Date.parse(entry.createdAt))))}
          </text>
        )}
        <g class="ruler">
          <path d={`M${width - 10 - ruler.px},10 v8 h${ruler.px} v-8`} />
          <text class="axis" x={width - 18 - ruler.px} y="18" text-anchor="end">
            {duration(ruler.ms)}
          </text>
        </g>
        {arrows.map(({ from, to }) => (
          <path key={`${from.key} ${to.key}`} class="effect" d={arrow(from, to)} marker-end="url(#effect)" />
        ))}
        {bars.map((bar) => (
          <BarButton key={bar.key} bar={bar} isSelected={bar.entry === selected} select={select} />
        ))}
      </svg>
    </div>
  );
}

interface BarProps {
  readonly bar: Bar;
  readonly isSelected: boolean;
  readonly select: (entry: Entry) => void;
}

function BarButton({ bar: { entry, x, y, width, text, room }, isSelected, select }: BarProps) {
  const state = entry.outcome === 'dead' ? 'failing' : entry.attempts > 1 ? 'late' : 'fine';
  const shown = text.length > 44 ? `${text.slice(0, 43)}…` : text;
  const took = duration(Date.parse(entry.handledAt) - Date.parse(entry.createdAt));
  return (
    <g
      class={`bar ${state}${isSelected ? ' selected' : ''}`}
      role="button"
      tabindex={0}
      aria-label={`${shown} at ${entry.consumer}, ${attemptsOf(entry)}, took ${took}`}
      onClick={() => select(entry)}
      onKeyDown={(event) => {
        if (event.key !== 'Enter' && event.key !== ' ') return;
        event.preventDefault();
        select(entry);
      }}
    >
      <rect class="target" x={x} y={y} width={room} height={BAR_PX} />
      <rect x={x} y={y} width={width} height={BAR_PX} rx="4" />
      <text x={x + width + 6} y={y + BAR_PX / 2} dominant-baseline="central">
        {shown}
      </text>
    </g>
  );
}

/** From the end of the cause to the start of its effect. */
function arrow(from: Bar, to: Bar): string {
  const [x1, y1] = [from.x + from.width, from.y + BAR_PX / 2];
  const [x2, y2] = [to.x - 1, to.y + BAR_PX / 2];
  const bend = Math.max(14, Math.abs(x2 - x1) / 3);
  return `M${x1},${y1} C${x1 + bend},${y1} ${x2 - bend},${y2} ${x2},${y2}`;
}

function useWidth(box: { current: HTMLElement | null }): number {
  const [width, setWidth] = useState(0);
  useEffect(() => {
    const observer = new ResizeObserver(([entry]) => setWidth(Math.floor(entry!.contentRect.width)));
    observer.observe(box.current!);
    return () => observer.disconnect();
  }, []);
  return width;
}
