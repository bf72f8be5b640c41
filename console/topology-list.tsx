import { DataTable } from './data-table';
import { rate } from './format';
import type { EdgeSecond, Second } from './second';
import type { Edge, Selection } from './topology-edges';
import { SIGNS, stateOf, trafficOf, WORDS, type Traffic } from './traffic';

interface ListProps {
  readonly edges: readonly Edge[];
  readonly seconds: readonly Second[];
  readonly select: (selection: Selection) => void;
}

/** The graph as a table: for narrow screens, for screen readers, and for messages that no contract knows. */
export function TopologyList({ edges, seconds, select }: ListProps) {
  const known = edges.map((edge) => ({
    edge,
    traffic: trafficOf(seconds, edge),
    name: edge.message.name,
    kind: edge.message.kind,
    sender: edge.sender,
    consumer: edge.consumer,
  }));
  const others = undeclared(edges, seconds).map(({ type, sender, consumer, count, failed }) => ({
    edge: undefined,
    traffic: { rate: count, failed, isLate: false, pending: 0 },
    name: type,
    kind: 'not in a contract',
    sender,
    consumer,
  }));
  return (
    <section class="card">
      <DataTable
        caption="All messages"
        rows={[...known, ...others]}
        keyOf={({ name, kind, sender, consumer }) => JSON.stringify([name, kind, sender, consumer])}
        columns={[
          {
            title: 'Message',
            cell: ({ edge, name }) =>
              edge ? (
                <button type="button" class="link" onClick={() => select({ edge })}>
                  {name}
                </button>
              ) : (
                name
              ),
          },
          { title: 'Kind', cell: ({ kind }) => kind },
          { title: 'From', isLong: true, cell: ({ sender }) => sender },
          { title: 'To', isLong: true, cell: ({ consumer }) => consumer },
          { title: 'In a second', isNumber: true, cell: ({ traffic }) => rate(traffic.rate) },
          { title: 'Failed in 10 s', isNumber: true, cell: ({ traffic }) => rate(traffic.failed) },
          { title: 'State', cell: ({ traffic }) => <State traffic={traffic} /> },
        ]}
      />
    </section>
  );
}

function State({ traffic }: { traffic: Traffic }) {
  const state = stateOf(traffic);
  return (
    <span class={state}>
      {SIGNS[state]} {WORDS[state] || '–'}
    </span>
  );
}

/** Senders choose types, so there may be many. */
const MAX_UNDECLARED = 20;

/** Messages of the last ten seconds that no contract knows. */
function undeclared(edges: readonly Edge[], seconds: readonly Second[]): EdgeSecond[] {
  const types = new Set(edges.map(({ message }) => message.type));
  const found = new Map(seconds.slice(-10).flatMap((second) => [...second.edges]));
  return [...found.values()].filter(({ type }) => !types.has(type)).slice(0, MAX_UNDECLARED);
}
