import { DataTable } from './data-table';
import { attemptsOf, keyOf } from './entry';
import { duration, preciseTime } from './format';
import type { Entry } from './mesh-types';

/** The timeline as a table, for narrow screens and screen readers. */
export function TimelineTable({ entries, select }: { entries: readonly Entry[]; select: (entry: Entry) => void }) {
  return (
    <section class="card">
      <DataTable
        caption="Messages, the earliest first"
        rows={[...entries].sort((a, b) => Date.parse(a.createdAt) - Date.parse(b.createdAt))}
        keyOf={keyOf}
        columns={[
          {
            title: 'Message',
            cell: (entry) => (
              <button type="button" class="link" onClick={() => select(entry)}>
                {entry.type}
              </button>
            ),
          },
          { title: 'Consumer', cell: ({ consumer }) => consumer },
          { title: 'Created', cell: ({ createdAt }) => preciseTime(Date.parse(createdAt)) },
          {
            title: 'Handled after',
            isNumber: true,
            cell: ({ createdAt, handledAt }) => duration(Date.parse(handledAt) - Date.parse(createdAt)),
          },
          {
            title: 'Outcome',
            cell: (entry) => (
              <span class={entry.outcome === 'dead' ? 'bad' : entry.attempts > 1 ? 'late' : undefined}>
                {attemptsOf(entry)}
              </span>
            ),
          },
        ]}
      />
    </section>
  );
}
