import { count, duration, rate } from './format';
import type { Live } from './live';
import type { Message, Topology } from './mesh-types';
import { Samples } from './samples';

interface ModuleProps {
  readonly name: string;
  readonly contracts: Topology;
  readonly live: Live;
}

export function ModuleDetails({ name, contracts, live }: ModuleProps) {
  const { modules, messages, broker } = contracts;
  const module = modules.find((it) => it.name === name);
  const second = live.seconds.at(-1);
  const figures = second?.consumers.get(name);
  const isBroker = name.startsWith(' ');
  if (isBroker)
    return (
      <>
        <h2>Broker</h2>
        <p>{broker}</p>
        <Samples samples={live.samples} />
      </>
    );
  return (
    <>
      <h2>{name}</h2>
      <p>
        {module ? (module.isHosted ? 'A module of this process' : 'A module of another process') : 'Another system'}
      </p>
      {module && (
        <dl class="facts">
          <dt>Pending</dt>
          <dd>{count(second?.outbox?.consumers[name] ?? 0)}</dd>
          <dt>Handled</dt>
          <dd>{rate(figures?.handled ?? 0)} in the last second</dd>
          <dt>Failed</dt>
          <dd>{rate(figures?.failed ?? 0)} in the last second</dd>
          <dt>p50, p99</dt>
          <dd>
            {duration(figures?.p50Ms)}, {duration(figures?.p99Ms)}
          </dd>
        </dl>
      )}
      <Names
        title="Handles"
        messages={messages.filter(({ consumers, kind }) => kind !== 'query' && consumers.includes(name))}
      />
      <Names
        title="Sends"
        messages={messages.filter(({ senders, kind }) => kind !== 'query' && senders.includes(name))}
      />
      <Names
        title="Answers"
        messages={messages.filter(({ consumers, kind }) => kind === 'query' && consumers.includes(name))}
      />
      <Samples samples={live.samples.filter((it) => it.consumer === name || it.sender === name)} />
    </>
  );
}

function Names({ title, messages }: { title: string; messages: readonly Message[] }) {
  if (messages.length === 0) return null;
  return (
    <>
      <h3>{title}</h3>
      <ul class="names">
        {messages.map(({ type, name, kind }) => (
          <li key={type}>
            {name} <span class="muted">{kind}</span>
          </li>
        ))}
      </ul>
    </>
  );
}
