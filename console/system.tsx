import { DataTable } from './data-table';
import { plural } from './format';
import type { BrokerState, ProcessState } from './mesh-types';
import type { Seen } from './second';

/** All shards of a resource. */
const SHARDS = 32;

/** Transport, broker, database, versions and replicas. */
export function System({ processes }: { processes: readonly Seen[] }) {
  const states = processes.map(({ state }) => state);
  const replicas = new Map(states.flatMap((it) => it.replicas).map((it) => [`${it.id} ${it.resource}`, it]));
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
        <dd>
          {distinct(states, ({ process: { application, versions } }) => `${application} ${versions.application ?? ''}`)}
        </dd>
        <dt>Node</dt>
        <dd>{distinct(states, (it) => it.process.versions.node)}</dd>
      </dl>
      {replicas.size > 0 && <Replicas replicas={[...replicas.values()]} />}
    </section>
  );
}

function Replicas({ replicas }: { replicas: ProcessState['replicas'] }) {
  return (
    <DataTable
      caption="Replicas and their shards"
      rows={replicas}
      keyOf={({ id, resource }) => `${id} ${resource}`}
      columns={[
        { title: 'Replica', cell: ({ id }) => id },
        { title: 'Shards of', cell: ({ resource }) => resource },
        {
          title: 'Shards',
          isNumber: true,
          cell: ({ id, shards }) => (
            <>
              {shards} <meter min={0} max={SHARDS} value={shards} aria-label={`Shards of ${id}`} />
            </>
          ),
        },
      ]}
    />
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
    ...(refused ? [`refuses messages: ${refused.reason}`] : []),
    ...(unreachable ? [`unreachable: ${unreachable.reason}`] : []),
    ...(waiting && waiting.requests > 0 ? [`${plural(waiting.requests, 'request')} without an answer`] : []),
  ];
}
