import { plural } from './format';
import type { Seen } from './live';
import type { BrokerState, ProcessState } from './mesh-types';

/** Transport, broker, database, versions and replicas. */
export function System({ processes }: { processes: readonly Seen[] }) {
  const states = processes.map(({ state }) => state);
  const replicas = new Map(states.flatMap((it) => it.replicas).map((replica) => [replica.id, replica]));
  return (
    <section class="card" aria-labelledby="system">
      <h2 id="system">System</h2>
      <dl class="facts">
        <dt>Transport</dt>
        <dd>{distinct(states, (it) => it.transport)}</dd>
        <dt>Broker</dt>
        <dd>{brokerText(states)}</dd>
        <dt>Database</dt>
        <dd>{distinct(states, (it) => it.database)}</dd>
        <dt>Application</dt>
        <dd>{distinct(states, (it) => it.process.versions.application)}</dd>
        <dt>Library</dt>
        <dd>{distinct(states, (it) => it.process.versions.library)}</dd>
        <dt>Node</dt>
        <dd>{distinct(states, (it) => it.process.versions.node)}</dd>
      </dl>
      {replicas.size > 0 && (
        <table>
          <caption>Replicas and the shards that they hold</caption>
          <thead>
            <tr>
              <th scope="col">Replica</th>
              <th scope="col" class="number">
                Shards
              </th>
            </tr>
          </thead>
          <tbody>
            {[...replicas.values()].map(({ id, shards, isSelf }) => (
              <tr key={id}>
                <th scope="row">
                  {id}
                  {isSelf && <span class="tag">answers</span>}
                </th>
                <td class="number">
                  <meter min={0} max={32} value={shards} aria-label={`Shards of ${id}`} /> {shards}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </section>
  );
}

const distinct = (states: readonly ProcessState[], of: (state: ProcessState) => string) =>
  [...new Set(states.map(of))].sort().join(', ') || '–';

function brokerText(states: readonly ProcessState[]) {
  if (states.every(({ transport }) => transport === 'in-process')) return 'none: messages stay in the process';
  const problems = [...new Set(states.flatMap(({ broker }) => problemsOf(broker)))];
  if (problems.length === 0) return <span class="good">✓ accepts messages</span>;
  return problems.map((problem) => (
    <span key={problem} class="bad">
      ✕ {problem}{' '}
    </span>
  ));
}

function problemsOf(broker: BrokerState = {}): string[] {
  const { refused, unreachable, waiting } = broker;
  return [
    ...(refused ? [`refuses messages: ${reasonOf(refused)}`] : []),
    ...(unreachable ? [`unreachable: ${reasonOf(unreachable)}`] : []),
    ...(waiting && waiting.requests > 0 ? [`${plural(waiting.requests, 'request')} without an answer`] : []),
  ];
}

const reasonOf = (failure: { reason: string } | string) => (typeof failure === 'string' ? failure : failure.reason);
