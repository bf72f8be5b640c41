import { useState } from 'preact/hooks';
import { count } from './format';
import { SchemaAndExample } from './message-details';
import type { Message, Topology } from './mesh-types';
import { useAnswer } from './use-answer';
import { Waiting } from './waiting';

export function Contracts() {
  const asked = useAnswer<Topology>('/mesh/console/topology');
  const [filter, setFilter] = useState('');
  const { answer } = asked;
  if (!answer) return <Waiting title="Contracts" asked={asked} />;
  const messages = answer.messages.filter((message) => matches(message, filter));
  return (
    <>
      <h1>Contracts</h1>
      <div class="search">
        <label class="wide">
          Filter by message, kind, module or system
          <input type="search" value={filter} onInput={(event) => setFilter(event.currentTarget.value)} />
        </label>
        <a class="button" href="/asyncapi.json" download="asyncapi.json">
          Download AsyncAPI
        </a>
      </div>
      <p role="status" class="muted">
        {count(messages.length)} of {count(answer.messages.length)} messages
      </p>
      <section class="card scroll">
        <table class="contracts">
          <caption>Who sends what to whom</caption>
          <thead>
            <tr>
              <th scope="col">Message</th>
              <th scope="col">Kind</th>
              <th scope="col">Contract of</th>
              <th scope="col">Senders</th>
              <th scope="col">Consumers</th>
              <th scope="col">Fields</th>
            </tr>
          </thead>
          <tbody>
            {messages.map((message) => (
              <tr key={`${message.owner} ${message.type}`}>
                <th scope="row">
                  {message.name}
                  <code>{message.type}</code>
                </th>
                <td>{message.kind}</td>
                <td>{message.owner}</td>
                <td>{message.senders.join(', ') || '–'}</td>
                <td>{message.consumers.join(', ') || '–'}</td>
                <td>
                  <SchemaAndExample message={message} />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </section>
    </>
  );
}

function matches({ type, name, kind, owner, senders, consumers }: Message, filter: string): boolean {
  const text = [type, name, kind, owner, ...senders, ...consumers].join(' ').toLowerCase();
  return filter
    .toLowerCase()
    .split(/\s+/)
    .every((word) => text.includes(word));
}
