import { DataTable } from './data-table';
import { count, time } from './format';
import type { Entry } from './mesh-types';
import { hashOf } from './route';

const SHOWN = 20;

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
    <section class="card">
      <DataTable
        caption="Latest subjects"
        rows={subjects}
        keyOf={({ subject }) => subject}
        columns={[
          { title: 'Subject', cell: ({ subject }) => <a href={hashOf('timeline', { subject })}>{subject}</a> },
          { title: 'Last message', isLong: true, cell: ({ latest }) => latest.type },
          { title: 'Consumer', cell: ({ latest }) => latest.consumer },
          { title: 'Handled at', cell: ({ latest }) => time(latest.handledAt) },
          { title: 'Recent messages', isNumber: true, cell: ({ messages }) => count(messages) },
          {
            title: 'Dead',
            isNumber: true,
            cell: ({ dead }) => (dead > 0 ? <span class="bad">✕ {count(dead)}</span> : '–'),
          },
        ]}
      />
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
  return [...found.values()].slice(0, SHOWN);
}
