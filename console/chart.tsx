import { useEffect, useRef } from 'preact/hooks';
import UPlot from 'uplot';
import { SHOWN_SECONDS } from './live';
import type { LineStyle } from './line-style';

export interface Line extends LineStyle {
  readonly values: readonly (number | null | undefined)[];
  readonly width?: number;
  /** Fills the area below the line. */
  readonly isFilled?: boolean;
}

interface ChartProps {
  /** What the chart shows, for a screen reader. */
  readonly label: string;
  /** In ms since 1970. */
  readonly times: readonly number[];
  readonly lines: readonly Line[];
  readonly height: number;
  /** Without axes: a line beside a figure. */
  readonly isPlain?: boolean;
  readonly isLogarithmic?: boolean;
  readonly format?: (value: number) => string;
}

/** A chart of the last two minutes. */
export function Chart(props: ChartProps) {
  const { label, times, lines, height } = props;
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<UPlot>();
  const looks = JSON.stringify(lines.map(({ color, dash }) => [color, dash]));
  const data = [times.map((at) => at / 1000), ...lines.map(({ values }) => values)] as UPlot.AlignedData;

  useEffect(() => {
    const element = box.current!;
    const draw = () => {
      plot.current?.destroy();
      plot.current = new UPlot(optionsOf(props, element), data, element);
    };
    draw();
    const resized = new ResizeObserver(() => plot.current?.setSize({ width: element.clientWidth, height }));
    resized.observe(element);
    // The colours are drawn into the canvas.
    const scheme = matchMedia('(prefers-color-scheme: dark)');
    scheme.addEventListener('change', draw);
    return () => {
      scheme.removeEventListener('change', draw);
      resized.disconnect();
      plot.current?.destroy();
    };
  }, [looks, height]);

  useEffect(() => plot.current?.setData(data), [times]);
  return <div ref={box} class="chart" role="img" aria-label={label} />;
}

/** Steps between the lines of a chart of whole numbers. */
const STEPS = [1, 2, 5].flatMap((n) => Array.from({ length: 7 }, (_, power) => n * 10 ** power)).sort((a, b) => a - b);
/** Labels of the time axis, in seconds ago. */
const TICKS = [120, 90, 60, 30, 0];

function optionsOf({ lines, height, isPlain, isLogarithmic, format }: ChartProps, element: HTMLElement): UPlot.Options {
  const style = getComputedStyle(element);
  const color = (name: string) => style.getPropertyValue(name).trim();
  const axis: UPlot.Axis = {
    stroke: color('--muted'),
    font: '13px system-ui, sans-serif',
    grid: { stroke: color('--rule'), width: 1 },
    ticks: { show: false },
  };
  return {
    width: element.clientWidth,
    height,
    legend: { show: false },
    cursor: { show: false },
    padding: isPlain ? [2, 0, 2, 0] : [8, 18, 0, 0],
    scales: {
      x: { time: false, range: (_, __, max) => [max - SHOWN_SECONDS, max] },
      y: isLogarithmic
        ? { distr: 3, range: (_, min, max) => [10 ** Math.floor(Math.log10(min || 1)), Math.max(max || 0, 100) * 1.2] }
        : { range: (_, __, max) => [0, Math.max(max || 0, isPlain ? 1 : 4) * 1.1] },
    },
    axes: [
      {
        ...axis,
        show: !isPlain,
        size: 28,
        splits: (_, __, ___, max) => TICKS.map((seconds) => max - seconds),
        values: () => TICKS.map((seconds) => (seconds === 0 ? 'now' : `−${seconds} s`)),
      },
      {
        ...axis,
        show: !isPlain,
        size: 64,
        ...(!isLogarithmic && { incrs: STEPS }),
        values: (_, splits) => splits.map((it) => label(it, format)),
      },
    ],
    series: [
      {},
      ...lines.map((line) => ({
        stroke: color(line.color),
        dash: [...line.dash],
        width: line.width ?? 2,
        points: { show: true, size: 7, fill: color(line.color), filter: lonely },
        ...(line.isFilled && { fill: `${color(line.color)}2b` }),
      })),
    ],
  };
}

/** uPlot gives null for a tick without a label. */
function label(value: number | null, format: (value: number) => string = String): string {
  return value === null ? '' : format(value);
}

/** The places of the values between two seconds without one, which no line shows. */
function lonely({ data }: UPlot, series: number): number[] {
  const values = data[series] ?? [];
  const isValue = (index: number) => typeof values[index] === 'number';
  return Array.from(values, (_, index) => index).filter(
    (index) => isValue(index) && !isValue(index - 1) && !isValue(index + 1),
  );
}
