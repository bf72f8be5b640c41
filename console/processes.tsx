import { DataTable } from './data-table';
import { duration } from './format';
import { SILENT_MS, type Seen } from './second';

export function Processes({ processes }: { processes: readonly Seen[] }) {
  return (
    <section class="card" aria-label="Processes">
      <DataTable
        caption="Processes"
        rows={[...processes].sort((a, b) => nameOf(a).localeCompare(nameOf(b)))}
        keyOf={({ state }) => state.process.id}
        columns={[
          { title: 'Modules', cell: nameOf },
          { title: 'pid', isNumber: true, cell: ({ state }) => state.process.pid },
          { title: 'State', cell: (seen) => <Answering seen={seen} /> },
          {
            title: 'Up for',
            isNumber: true,
            cell: ({ state }) => duration(Date.parse(state.at) - Date.parse(state.process.startedAt)),
          },
        ]}
      />
    </section>
  );
}

function Answering({ seen: { at } }: { seen: Seen }) {
  const silence = Date.now() - at;
  if (silence > SILENT_MS) return <span class="bad">✕ silent for {duration(silence)}</span>;
  return <span class="good">✓ answers</span>;
}

const nameOf = ({ state }: Seen) => state.process.modules.join(', ') || 'no module';
