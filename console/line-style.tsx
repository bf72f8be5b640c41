/** Colour and dashes of a line: two lines differ in both, so that colour is not the only sign. */
export interface LineStyle {
  /** A custom property of base.css. */
  readonly color: string;
  readonly dash: readonly number[];
}

const DASHES = [[], [8, 4], [2, 4], [10, 4, 2, 4]];
const COLORS = 8;

export function lineStyle(index: number): LineStyle {
  return { color: `--line-${(index % COLORS) + 1}`, dash: DASHES[index % DASHES.length]! };
}

/** A short piece of a line, beside the name that it stands for. */
export function Swatch({ index }: { index: number }) {
  const { color, dash } = lineStyle(index);
  return (
    <svg class="swatch" viewBox="0 0 30 8" width="30" height="8" aria-hidden="true">
      <line x1="0" y1="4" x2="30" y2="4" style={{ stroke: `var(${color})` }} stroke-dasharray={dash.join(' ')} />
    </svg>
  );
}
