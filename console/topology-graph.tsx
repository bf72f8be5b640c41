import { Fragment } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import { count, rate } from './format';
import type { Live } from './live';
import { showPulses } from './pulses';
import type { Layout, PlacedEdge, PlacedNode } from './topology-layout';
import type { Selection } from './topology-edges';
import { moduleTraffic, SIGNS, stateOf, trafficOf, WORDS } from './traffic';

/** A graph that would be smaller scrolls. */
const MIN_SCALE = 0.7;

interface GraphProps {
  readonly layout: Layout;
  readonly live: Live;
  readonly selected?: Selection;
  readonly select: (selection: Selection) => void;
}

export function TopologyGraph({ layout, live, selected, select }: GraphProps) {
  const pulses = useRef<SVGGElement>(null);
  useEffect(() => showPulses(pulses.current!, layout), [layout]);
  const { width, height } = layout;
  return (
    <div class="graph scroll">
      <svg
        viewBox={`0 0 ${width} ${height}`}
        style={{ minWidth: `${width * MIN_SCALE}px` }}
        role="group"
        aria-label="Modules and their messages"
      >
        <defs>
          {['idle', 'active', 'late', 'failing'].map((state) => (
            <marker
              key={state}
              id={`arrow-${state}`}
              viewBox="0 0 10 10"
              refX="9"
              refY="5"
              markerWidth="11"
              markerHeight="11"
              markerUnits="userSpaceOnUse"
              orient="auto"
            >
              <path class={`arrow ${state}`} d="M0 0L10 5L0 10z" />
            </marker>
          ))}
        </defs>
        {layout.edges.map((placed) => (
          <EdgeLine
            key={placed.edge.key}
            placed={placed}
            live={live}
            isSelected={selected?.edge === placed.edge}
            select={select}
          />
        ))}
        <g ref={pulses} aria-hidden="true" />
        {layout.nodes.map((node) => (
          <NodeBox key={node.name} node={node} live={live} isSelected={selected?.node === node.name} select={select} />
        ))}
      </svg>
    </div>
  );
}

interface EdgeProps {
  readonly placed: PlacedEdge;
  readonly live: Live;
  readonly isSelected: boolean;
  readonly select: (selection: Selection) => void;
}

function EdgeLine({ placed: { edge, paths, label }, live, isSelected, select }: EdgeProps) {
  const traffic = trafficOf(live.seconds, edge);
  const state = stateOf(traffic);
  const { kind } = edge.message;
  const name = shortName(edge.message.name);
  const speed = traffic.rate > 0 ? `${rate(traffic.rate)}/s` : '';
  const thickness = 1.3 + 1.9 * Math.log10(1 + traffic.rate);
  return (
    <g
      class={`edge ${kind} ${state}${isSelected ? ' selected' : ''}`}
      role="button"
      tabindex={0}
      aria-label={`${[SIGNS[state], name, speed].filter(Boolean).join(' ')}, ${kind} from ${edge.sender} to ${edge.consumer}`}
      {...activation(() => select({ edge }))}
    >
      {paths.map((d, index) => (
        <g key={index}>
          <path class="target" d={d} />
          <path
            class="line"
            d={d}
            style={{ strokeWidth: thickness }}
            marker-end={index === paths.length - 1 ? `url(#arrow-${state})` : undefined}
          />
        </g>
      ))}
      <text x={label.x} y={label.y} text-anchor="middle" dominant-baseline="central">
        {SIGNS[state] && <tspan class="sign">{SIGNS[state]} </tspan>}
        {name}
        {speed && <tspan class="rate"> {speed}</tspan>}
      </text>
    </g>
  );
}

const FACT_HEIGHT = 17;

interface NodeProps {
  readonly node: PlacedNode;
  readonly live: Live;
  readonly isSelected: boolean;
  readonly select: (selection: Selection) => void;
}

function NodeBox({ node, live, isSelected, select }: NodeProps) {
  const traffic = moduleTraffic(live.seconds, node.name);
  const state = node.kind === 'module' ? stateOf(traffic) : 'idle';
  const { x, y, width, height } = node;
  const facts = [
    state === 'failing' || state === 'late' ? `${SIGNS[state]} ${WORDS[state]}` : undefined,
    traffic.pending > 0 ? `${count(traffic.pending)} waiting` : undefined,
    traffic.rate > 0 ? `${rate(traffic.rate)}/s` : undefined,
  ].filter((it) => it !== undefined);
  const top = y - (facts.length * FACT_HEIGHT) / 2;
  return (
    <g
      class={`node ${node.kind} ${state}${isSelected ? ' selected' : ''}`}
      role="button"
      tabindex={0}
      aria-label={[node.title, ...facts, KINDS[node.kind]].join(' ')}
      {...activation(() => select({ node: node.name }))}
    >
      <rect
        x={x - width / 2}
        y={y - height / 2}
        width={width}
        height={height}
        rx={node.kind === 'broker' ? Math.min(24, height / 2) : 10}
      />
      <text text-anchor="middle" dominant-baseline="central">
        <tspan x={x} y={top}>
          {node.title}
        </tspan>
        {facts.map((fact, index) => (
          <Fragment key={index}>
            {/* The space parts the words for a screen reader. */}{' '}
            <tspan class="fact" x={x} y={top + 4 + (index + 1) * FACT_HEIGHT}>
              {fact}
            </tspan>
          </Fragment>
        ))}
      </text>
    </g>
  );
}

const KINDS = { module: '(module)', system: '(other system)', broker: '(between modules)' } as const;

const shortName = (name: string) => (name.length > 40 ? `${name.slice(0, 39)}…` : name);

/** What makes an SVG element act as a button. */
function activation(act: () => void) {
  return {
    onClick: act,
    onKeyDown: (event: KeyboardEvent) => {
      if (event.key !== 'Enter' && event.key !== ' ') return;
      event.preventDefault();
      act();
    },
  };
}
