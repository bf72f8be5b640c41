import { attemptsOf, keyOf } from './entry';
import { duration, preciseTime } from './format';
import type { Entry } from './mesh-types';

/** The timeline as a table, for narrow screens and screen readers. */
export function TimelineTable({ entries, select }: { entries: readonly Entry[]; select: (entry: Entry) => void }) {
  const sorted = [...entries].sort((a, b) => Date.parse(a.createdAt) - Date.parse(b.createdAt));
  return (
    <section class="card scroll">
      <table>
        <caption>Messages, the earliest first</caption>
        <thead>
          <tr>
            <th scope="col">Message</th>
            <th scope="col">Consumer</th>
            <th scope="col">Created</th>
            <th scope="col" class="number">
              Handled after
            </th>
            <th scope="col">Outcome</th>
          </tr>
        </thead>
        <tbody>
          {sorted.map((entry) => (
            <tr key={keyOf(entry)}>
              <th scope="row">
                <button type="button" class="link" onClick={() => select(entry)}>
                  {entry.type}
                </button>
              </th>
              <td>{entry.consumer}</td>
              <td>{preciseTime(Date.parse(entry.createdAt))}</td>
              <td class="number">{duration(Date.parse(entry.handledAt) - Date.parse(entry.createdAt))}</td>
              <td class={entry.outcome === 'dead' ? 'bad' : ''}>{attemptsOf(entry)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}
