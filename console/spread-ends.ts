import type { Point } from './topology-layout';

export interface Box extends Point {
  readonly width: number;
  readonly height: number;
}

export interface Way {
  readonly from: string;
  readonly to: string;
  points: Point[];
}

/** Spreads the ends of lines over the sides of their nodes, in the order of what they lead to, so that they don't cross. */
export function spreadEnds(ways: readonly Way[], boxOf: (node: string) => Box): void {
  const sides = new Map<string, { box: Box; isRight: boolean; ends: { next: Point; move(to: Point): void }[] }>();
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

/** A smooth path along points. */
export function pathAlong(points: readonly Point[]): string {
  const [first, ...others] = points;
  if (!first) return '';
  const last = others.at(-1)!;
  const curves = others.slice(0, -1).map((point, index) => {
    const next = others[index + 1]!;
    const isLast = index === others.length - 2;
    const end = isLast ? last : { x: (point.x + next.x) / 2, y: (point.y + next.y) / 2 };
    return `Q${at(point)} ${at(end)}`;
  });
  return `M${at(first)} ${curves.join(' ') || `L${at(last)}`}`;
}

const at = ({ x, y }: Point) => `${x.toFixed(1)},${y.toFixed(1)}`;
