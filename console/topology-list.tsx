import { rate } from './format';
import { edgeKey, type Second } from './second';
import type { Edge, Selection } from './topology-edges';
import { SIGNS, stateOf, trafficOf } from './traffic';

interface ListProps {
  readonly edges: readonly Edge[];
  readonly seconds: readonly Second[];
  select(selection: Selection): void;
}

/** The graph as a table: for narrow screens, for screen readers, and for messages that no contract knows. */
export function TopologyList({ edges, seconds, select }: ListProps) {
  return (
    <section class="card scroll">
      <table>
        <caption>All messages</caption>
        <thead>
          <tr>
            <th scope="col">Message</th>
            <th scope="col">Kind</th>
            <th scope="col">From</th>
            <th scope="col">To</th>
            <th scope="col" class="number">
              In a second
            </th>
            <th scope="col" class="number">
              Failed in 10 s
            </th>
          </tr>
        </thead>
        <tbody>
          {edges.map((edge) => {
            const traffic = trafficOf(seconds, edge);
            const state = stateOf(traffic);
            return (
              <tr key={edge.key}>
                <th scope="row">
                  <button type="button" class="link" onClick={() => select({ edge })}>
                    {edge.message.name}
                  </button>
                </th>
                <td>{edge.message.kind}</td>
                <td>{edge.sender}</td>
                <td>{edge.consumer}</td>
                <td class="number">{rate(traffic.rate)}</td>
                <td class={`number ${state}`}>
                  {SIGNS[state]} {rate(traffic.failed)}
                </td>
              </tr>
            );
          })}
          {strangers(edges, seconds).map(({ type, sender, consumer, count, failed }) => (
            <tr key={edgeKey(type, sender, consumer)}>
              <th scope="row">{type}</th>
              <td>not in a contract</td>
              <td>{sender}</td>
              <td>{consumer}</td>
              <td class="number">{rate(count)}</td>
              <td class="number">{rate(failed)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

/** Senders choose types, so there may be many. */
const MAX_STRANGERS = 20;

/** Messages of the last ten seconds that no contract knows. */
function strangers(edges: readonly Edge[], seconds: readonly Second[]) {
  const types = new Set(edges.map(({ message }) => message.type));
  const found = new Map(seconds.slice(-10).flatMap((second) => [...second.edges]));
  return [...found.values()].filter(({ type }) => !types.has(type)).slice(0, MAX_STRANGERS);
}
