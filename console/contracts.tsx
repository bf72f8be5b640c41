import { useState } from 'preact/hooks';
import { DataTable, type Column } from './data-table';
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
      <section class="card contracts">
        <DataTable
          caption="Who sends what to whom"
          rows={messages}
          keyOf={({ owner, type }) => `${owner} ${type}`}
          columns={COLUMNS}
        />
      </section>
    </>
  );
}

const COLUMNS: readonly Column<Message>[] = [
  {
    title: 'Message',
    cell: ({ name, type }) => (
      <>
        {name}
        <code>{type}</code>
      </>
    ),
  },
  { title: 'Kind', cell: ({ kind }) => kind },
  { title: 'Contract of', cell: ({ owner }) => owner },
  { title: 'Senders', isLong: true, cell: ({ senders }) => senders.join(', ') || '–' },
  { title: 'Consumers', isLong: true, cell: ({ consumers }) => consumers.join(', ') || '–' },
  { title: 'Fields', cell: (message) => <SchemaAndExample message={message} /> },
];

function matches({ type, name, kind, owner, senders, consumers }: Message, filter: string): boolean {
  const text = [type, name, kind, owner, ...senders, ...consumers].join(' ').toLowerCase();
  return filter
    .toLowerCase()
    .split(/\s+/)
    .every((word) => text.includes(word));
}
