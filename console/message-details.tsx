import { json } from './format';
import type { SeenSample } from './live';
import type { Message } from './mesh-types';
import { Samples } from './samples';

export function MessageDetails({ message, samples }: { message: Message; samples: readonly SeenSample[] }) {
  const { name, type, kind, owner, senders, handlers } = message;
  return (
    <>
      <h2>{name}</h2>
      <dl class="facts">
        <dt>Type</dt>
        <dd>
          <code>{type}</code>
        </dd>
        <dt>Kind</dt>
        <dd>{kind}</dd>
        <dt>Contract of</dt>
        <dd>{owner}</dd>
        <dt>{kind === 'query' ? 'Asked by' : 'Sent by'}</dt>
        <dd>{senders.join(', ') || '–'}</dd>
        <dt>{kind === 'query' ? 'Answered by' : 'Handled by'}</dt>
        <dd>{handlers.map((it) => `${it.module} (${it.name})`).join(', ') || '–'}</dd>
      </dl>
      <SchemaAndExample message={message} />
      {kind !== 'query' && <Samples samples={samples.filter((it) => it.type === type)} />}
    </>
  );
}

export function SchemaAndExample({ message: { schema, example } }: { message: Message }) {
  return (
    <>
      <details>
        <summary>Schema</summary>
        <pre tabIndex={0}>{json(schema)}</pre>
      </details>
      <details>
        <summary>Example</summary>
        <pre tabIndex={0}>{json(example)}</pre>
      </details>
    </>
  );
}
