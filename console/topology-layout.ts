import { graphlib, layout } from '@dagrejs/dagre';
import type { Topology } from './mesh-types';
import { pathAlong, spreadEnds, type Way } from './spread-ends';
import { edgesOf, nodesOf, type Edge } from './topology-edges';

export interface Point {
  readonly x: number;
  readonly y: number;
}

export interface PlacedNode extends Point {
  readonly name: string;
  readonly title: string;
  readonly kind: 'module' | 'broker' | 'system';
  readonly width: number;
  readonly height: number;
}

/** A line of the drawing. Over a broker, an edge has two: from the sender, and to the consumer. */
export interface PlacedEdge {
  readonly edge: Edge;
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
const NODE_WIDTH = 150;
const LETTER_WIDTH = 7.2;
/** Room for a rate and a sign beside the name, in px. */
const RATE_WIDTH = 64;

/** Places modules as columns from left to right, and each message type on a line of its own. */
export function layOut(topology: Topology): Layout {
  const edges = edgesOf(topology);
  const names = nodesOf(topology, edges);
  const graph = new graphlib.Graph({ multigraph: true });
  graph.setGraph({ rankdir: 'LR', nodesep: 34, edgesep: 6, ranksep: 30, marginx: 12, marginy: 12 });
  graph.setDefaultEdgeLabel(() => ({}));
  const parts = edges.map((edge) => ({ edge, lines: linesOf(edge, topology.broker !== null) }));
  const lines = new Map(parts.flatMap(({ lines }) => lines).map((line) => [line.key, line]));
  const ends = [...lines.values()].flatMap(({ from, to }) => [from, to]);
  const nodeNames = topology.broker === null ? names : [...names, BROKER];
  for (const name of nodeNames) {
    const height = 40 + 7 * ends.filter((it) => it === name).length;
    graph.setNode(name, { width: Math.max(NODE_WIDTH, 24 + labelOf(name).length * 8), height });
  }
  for (const { key, from, to, text } of lines.values()) {
    const size = text === undefined ? { width: 0, height: 0 } : { width: textWidth(text), height: 20 };
    graph.setEdge(from, to, { ...size, labelpos: 'c' }, key);
  }
  layout(graph);
  const placed = new Map<string, Way & { label: Point }>();
  for (const { key, from, to } of lines.values()) {
    const { points, x, y } = graph.edge(from, to, key) as { points: Point[] } & Point;
    placed.set(key, { from, to, points, label: { x, y } });
  }
  spreadEnds([...placed.values()], (name) => graph.node(name) as PlacedNode);
  const { width = 0, height = 0 } = graph.graph() as { width?: number; height?: number };
  const modules = new Set(topology.modules.map(({ name }) => name));
  return {
    width,
    height,
    nodes: nodeNames.map((name) => {
      const kind = name === BROKER ? 'broker' : modules.has(name) ? 'module' : 'system';
      return { ...(graph.node(name) as PlacedNode), name, title: labelOf(name), kind };
    }),
    edges: parts.map(({ edge, lines }) => {
      const ways = lines.map(({ key }) => placed.get(key)!);
      return { edge, paths: ways.map(({ points }) => pathAlong(points)), label: ways[0]!.label };
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

const labelOf = (name: string) => (name === BROKER ? 'broker' : shortSystem(name));
const shortSystem = (name: string) => (name.length > 30 ? `${name.slice(0, 29)}…` : name);
const textWidth = (text: string) => Math.min(text.length, 40) * LETTER_WIDTH + RATE_WIDTH;
