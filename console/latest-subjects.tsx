import { count, time } from './format';
import type { Entry } from './mesh-types';
import { hashOf } from './route';

interface Subject {
  readonly subject: string;
  readonly latest: Entry;
  readonly messages: number;
  readonly dead: number;
}

export function LatestSubjects({ entries, isRead }: { entries: readonly Entry[]; isRead: boolean }) {
  const subjects = subjectsOf(entries);
  if (subjects.length === 0) return <p class="muted">{isRead ? 'No message has been handled yet.' : 'Reading …'}</p>;
  return (
    <section class="card scroll">
      <table>
        <caption>Latest subjects</caption>
        <thead>
          <tr>
            <th scope="col">Subject</th>
            <th scope="col">Last message</th>
            <th scope="col">Consumer</th>
            <th scope="col">Handled at</th>
            <th scope="col" class="number">
              Recent messages
            </th>
          </tr>
        </thead>
        <tbody>
          {subjects.map(({ subject, latest, messages, dead }) => (
            <tr key={subject}>
              <th scope="row">
                <a href={hashOf('timeline', { subject })}>{subject}</a>
              </th>
              <td>{latest.type}</td>
              <td>{latest.consumer}</td>
              <td>{time(latest.handledAt)}</td>
              <td class="number">
                {dead > 0 && <span class="bad">✕ {count(dead)} dead, </span>}
                {count(messages)}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

function subjectsOf(entries: readonly Entry[]): Subject[] {
  const found = new Map<string, Subject>();
  for (const entry of entries) {
    if (entry.subject === null) continue;
    const { latest = entry, messages = 0, dead = 0 } = found.get(entry.subject) ?? {};
    const isDead = entry.outcome === 'dead';
    found.set(entry.subject, { subject: entry.subject, latest, messages: messages + 1, dead: dead + (isDead ? 1 : 0) });
  }
  return [...found.values()];
}
