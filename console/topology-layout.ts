import { graphlib, layout } from '@dagrejs/dagre';
import type { Topology } from './mesh-types';
import { pathAlong, pathBelow, spreadEnds, type Box, type Point, type Way } from './edge-paths';
import { edgesOf, nodesOf, type Edge } from './topology-edges';

export interface PlacedNode extends Box {
  readonly name: string;
  readonly title: string;
  readonly kind: 'module' | 'broker' | 'system';
}

export interface PlacedEdge {
  readonly edge: Edge;
  /** Over a broker there are two: from the sender, and to the consumer. */
  readonly paths: readonly string[];
  /** The middle of the label. */
  readonly label: Point;
}

export interface Layout {
  readonly width: number;
  readonly height: number;
  readonly nodes: readonly PlacedNode[];
  readonly edges: readonly PlacedEdge[];
}

/** The key of the node of the broker; no module can have this name. */
const BROKER = ' broker';
const NODE_WIDTH = 140;
const LABEL_HEIGHT = 26;
const LETTER_WIDTH = 7.4;
/** Room for a rate and a sign beside the name, in px. */
const RATE_WIDTH = 40;
const OPTIONS = { rankdir: 'LR', nodesep: 30, edgesep: 4, marginx: 12, marginy: 12 };

/** Places modules as columns from left to right, and each message type on a line of its own. */
export function layOut(topology: Topology): Layout {
  const edges = edgesOf(topology);
  const names = nodesOf(topology, edges);
  const nodeNames = topology.broker === null ? names : [...names, BROKER];
  const parts = edges.map((edge) => ({ edge, lines: linesOf(edge, topology.broker !== null) }));
  const lines = [...new Map(parts.flatMap(({ lines }) => lines).map((line) => [line.key, line])).values()];
  const own = (name: string) => lines.filter(({ from, to }) => from === name && to === name);
  const graph = new graphlib.Graph({ multigraph: true });
  graph.setGraph({ ...OPTIONS, ranksep: topology.broker === null ? 40 : 110 });
  const sideOf = sides(topology, lines);

  const heights = new Map(nodeNames.map((name) => [name, boxHeight(name, lines)]));
  for (const name of nodeNames) {
    const width = Math.max(NODE_WIDTH, 24 + titleOf(name).length * 9);
    // What a module sends to itself is below its box.
    graph.setNode(name, { width, height: heights.get(name)! + own(name).length * LABEL_HEIGHT });
  }
  for (const { key, from, to, text } of lines.filter(({ from, to }) => from !== to)) {
    const size = text === undefined ? { width: 1, height: 4 } : { width: textWidth(text), height: LABEL_HEIGHT };
    const [left, right] = sideOf(from) > sideOf(to) ? [to, from] : [from, to];
    graph.setEdge(left, right, { ...size, labelpos: 'c' }, key);
  }
  layout(graph);

  const boxOf = (name: string): Box => {
    const { x, y, width, height } = graph.node(name) as Box;
    const own = heights.get(name)!;
    return { x, y: y - (height - own) / 2, width, height: own };
  };
  const ways: Way[] = lines
    .filter(({ from, to }) => from !== to)
    .map(({ key, from, to }) => {
      const isTurned = sideOf(from) > sideOf(to);
      const [left, right] = isTurned ? [to, from] : [from, to];
      const { points, x, y } = graph.edge(left, right, key) as { points: Point[] } & Point;
      return { key, from, to, points: isTurned ? points.toReversed() : points, label: { x, y } };
    });
  spreadEnds(ways, boxOf);
  const placed = new Map(ways.map(({ key, points, label }) => [key, { path: pathAlong(points), label }]));
  for (const name of nodeNames)
    own(name).forEach(({ key }, index) => {
      const box = boxOf(name);
      const bottom = box.y + box.height / 2 + (index + 0.75) * LABEL_HEIGHT;
      placed.set(key, { path: pathBelow(box, bottom, Math.max(2, 20 - 6 * index)), label: { x: box.x, y: bottom } });
    });

  const modules = new Set(topology.modules.map(({ name }) => name));
  const kindOf = (name: string) => (name === BROKER ? 'broker' : modules.has(name) ? 'module' : 'system');
  const { width = 0, height = 0 } = graph.graph() as { width?: number; height?: number };
  return {
    width,
    height,
    nodes: nodeNames.map((name) => ({ ...boxOf(name), name, title: titleOf(name), kind: kindOf(name) })),
    edges: parts.map(({ edge, lines }) => {
      const drawn = lines.map(({ key }) => placed.get(key)!);
      return { edge, paths: drawn.map(({ path }) => path), label: drawn[0]!.label };
    }),
  };
}

interface Line {
  readonly key: string;
  readonly from: string;
  readonly to: string;
  /** The label; undefined for the way from the broker. */
  readonly text?: string;
}

/** Queries don't go over the broker. */
function linesOf({ key, message, sender, consumer }: Edge, hasBroker: boolean): Line[] {
  const { name, type, kind } = message;
  if (!hasBroker || kind === 'query') return [{ key, from: sender, to: consumer, text: name }];
  return [
    { key: `${type} from ${sender}`, from: sender, to: BROKER, text: name },
    { key: `${type} to ${consumer}`, from: BROKER, to: consumer },
  ];
}

/** The broker is in the middle: the busiest module and other systems on its left, all other modules on its right. */
function sides({ broker, modules }: Topology, lines: readonly Line[]): (name: string) => number {
  if (broker === null) return () => 0;
  const endsOf = (name: string) => lines.filter(({ from, to }) => from === name || to === name).length;
  const right = modules
    .map(({ name }) => name)
    .sort((a, b) => endsOf(b) - endsOf(a))
    .slice(1);
  return (name) => (name === BROKER ? 0 : right.includes(name) ? 1 : -1);
}

/** High enough for the ends of all lines. */
function boxHeight(name: string, lines: readonly Line[]): number {
  const ends = lines.filter(({ from, to }) => from !== to && (from === name || to === name));
  return Math.max(84, 16 + 11 * ends.length);
}

function titleOf(name: string): string {
  if (name === BROKER) return 'broker';
  return name.length > 30 ? `${name.slice(0, 29)}…` : name;
}

const textWidth = (text: string) => Math.min(text.length, 40) * LETTER_WIDTH + RATE_WIDTH;
