export interface Point {
  readonly x: number;
  readonly y: number;
}

/** A box around its middle. */
export interface Box extends Point {
  readonly width: number;
  readonly height: number;
}

/** The way of a line between two nodes. */
export interface Way {
  readonly key: string;
  readonly from: string;
  readonly to: string;
  points: readonly Point[];
  readonly label: Point;
}

/** Spreads the ends of lines over the sides of their nodes, in the order of what they lead to, so that they don't cross. */
export function spreadEnds(ways: readonly Way[], boxOf: (node: string) => Box): void {
  const sides = new Map<string, { box: Box; isRight: boolean; ends: { next: Point; move: (to: Point) => void }[] }>();
  const add = (node: string, next: Point, move: (to: Point) => void) => {
    const box = boxOf(node);
    const isRight = next.x > box.x;
    const key = JSON.stringify([node, isRight]);
    const side = sides.get(key) ?? { box, isRight, ends: [] };
    sides.set(key, side);
    side.ends.push({ next, move });
  };
  for (const way of ways.filter(({ from, to }) => from !== to)) {
    const { points } = way;
    add(way.from, points[1]!, (to) => (way.points = [to, ...way.points.slice(1)]));
    add(way.to, points.at(-2)!, (to) => (way.points = [...way.points.slice(0, -1), to]));
  }
  for (const { box, isRight, ends } of sides.values()) {
    ends.sort((a, b) => a.next.y - b.next.y);
    const step = box.height / (ends.length + 1);
    const x = box.x + (isRight ? box.width : -box.width) / 2;
    ends.forEach(({ move }, index) => move({ x, y: box.y - box.height / 2 + step * (index + 1) }));
  }
}

/** A smooth path from left to right, or back, that goes through all points, so that a label is on its line. */
export function pathAlong([first, ...others]: readonly Point[]): string {
  if (!first) return '';
  let last = first;
  const curves = others.map((point) => {
    const middle = (last.x + point.x) / 2;
    const curve = `C${at({ x: middle, y: last.y })} ${at({ x: middle, y: point.y })} ${at(point)}`;
    last = point;
    return curve;
  });
  return `M${at(first)} ${curves.join(' ')}`;
}

/** A path from a node back to itself, below it. */
export function pathBelow({ x, y, width, height }: Box, bottom: number, inset: number): string {
  const [left, right, top] = [x - width / 2 + inset, x + width / 2 - inset, y + height / 2];
  const [r, turn] = [6, bottom - 6];
  return `M${left},${top} V${turn} q0,${r} ${r},${r} H${right - r} q${r},0 ${r},${-r} V${top}`;
}

const at = ({ x, y }: Point) => `${x.toFixed(1)},${y.toFixed(1)}`;
