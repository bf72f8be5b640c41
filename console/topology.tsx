import { useMemo, useState } from 'preact/hooks';
import { Details } from './details';
import { live } from './live';
import type { Topology as Contracts } from './mesh-types';
import { MessageDetails } from './message-details';
import { ModuleDetails } from './module-details';
import type { Selection } from './topology-edges';
import { TopologyGraph } from './topology-graph';
import { layOut } from './topology-layout';
import { TopologyList } from './topology-list';
import { useAnswer } from './use-answer';
import { useValue } from './value';
import { Waiting } from './waiting';

export function Topology() {
  const contracts = useAnswer<Contracts>('/mesh/console/topology');
  const state = useValue(live);
  const [selected, select] = useState<Selection>();
  const { answer } = contracts;
  const layout = useMemo(() => answer && layOut(answer), [answer]);
  if (!answer || !layout) return <Waiting title="Topology" asked={contracts} />;
  return (
    <>
      <h1>Topology</h1>
      <Legend hasBroker={answer.broker !== null} />
      <div class={selected ? 'beside open' : 'beside'}>
        <TopologyGraph layout={layout} live={state} selected={selected} select={select} />
        {selected && (
          <Details
            label="Details"
            name={selected.edge ? selected.edge.key : selected.node}
            close={() => select(undefined)}
          >
            {selected.edge ? (
              <MessageDetails message={selected.edge.message} samples={state.samples} />
            ) : (
              <ModuleDetails name={selected.node} contracts={answer} live={state} />
            )}
          </Details>
        )}
      </div>
      <TopologyList edges={layout.edges.map(({ edge }) => edge)} seconds={state.seconds} select={select} />
    </>
  );
}

const KINDS = ['command', 'event', 'query'] as const;

function Legend({ hasBroker }: { hasBroker: boolean }) {
  return (
    <ul class="legend" aria-label="Legend">
      {KINDS.map((kind) => (
        <li key={kind}>
          <svg viewBox="0 0 44 8" width="44" height="8" aria-hidden="true" class={`edge ${kind} active`}>
            <path class="line" d="M0 4H44" />
          </svg>
          {kind}
        </li>
      ))}
      <li>thicker: more messages</li>
      <li class="bad">✕ fails</li>
      <li class="late">▲ p99 above 1 s</li>
      {hasBroker && <li>queries don’t go over the broker</li>}
    </ul>
  );
}
