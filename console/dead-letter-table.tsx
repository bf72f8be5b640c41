import { useState } from 'preact/hooks';
import { ConfirmButton } from './confirm-button';
import { DataTable, type Column } from './data-table';
import { json, time } from './format';
import type { DeadLetter } from './mesh-types';
import { hashOf } from './route';
import { useAnswer } from './use-answer';
import { Problem } from './waiting';

interface TableProps {
  readonly items: readonly DeadLetter[];
  readonly mayChange: boolean;
  readonly checked: ReadonlySet<string>;
  readonly setChecked: (checked: ReadonlySet<string>) => void;
  readonly requeue: (id: string) => void;
  readonly discard: (id: string) => Promise<string>;
}

export function DeadLetterTable({ items, mayChange, checked, setChecked, requeue, discard }: TableProps) {
  const [opened, setOpened] = useState<ReadonlySet<string>>(new Set());
  const checkbox: Column<DeadLetter> = {
    title: 'Check',
    head: (
      <input
        type="checkbox"
        aria-label="Check all on this page"
        checked={items.every(({ id }) => checked.has(id))}
        onChange={({ currentTarget }) => setChecked(new Set(currentTarget.checked ? items.map(({ id }) => id) : []))}
      />
    ),
    cell: (letter) => (
      <input
        type="checkbox"
        aria-label={`Check ${nameOf(letter)}`}
        checked={checked.has(letter.id)}
        onChange={() => setChecked(toggled(checked, letter.id))}
      />
    ),
  };
  const columns: readonly Column<DeadLetter>[] = [
    {
      title: 'Subject',
      isHeader: true,
      cell: ({ subject }) => (subject === null ? '–' : <a href={hashOf('timeline', { subject })}>{subject}</a>),
    },
    { title: 'Failed for good at', cell: ({ deadAt }) => time(deadAt) },
    // A broker that makes the attempts doesn't tell their number.
    { title: 'Attempts', isNumber: true, cell: ({ attempts }) => attempts || '–' },
    {
      title: 'Error',
      isLong: true,
      cell: ({ error, destination }) => (destination ? `${error} (at ${destination})` : error),
    },
    {
      title: 'Event',
      cell: (letter) => {
        const isOpen = opened.has(letter.id);
        const verb = isOpen ? 'Hide' : 'Show';
        return (
          <button
            type="button"
            aria-expanded={isOpen}
            aria-label={`${verb} the event of ${nameOf(letter)}`}
            onClick={() => setOpened(toggled(opened, letter.id))}
          >
            {verb}
          </button>
        );
      },
    },
  ];
  const detail = ({ id }: DeadLetter) =>
    opened.has(id) && (
      <>
        <Event id={id} />
        {mayChange && (
          <div class="row">
            <button type="button" onClick={() => requeue(id)}>
              Requeue this message
            </button>
            <ConfirmButton
              label="Discard this message"
              question="Discard this message?"
              explanation="A discarded message is deleted. Its effect never happens."
              act={() => discard(id)}
            />
          </div>
        )}
      </>
    );
  return (
    <section class="card">
      <DataTable
        caption="Messages, the latest first"
        rows={items}
        keyOf={({ id }) => id}
        columns={mayChange ? [checkbox, ...columns] : columns}
        detail={detail}
      />
    </section>
  );
}

function Event({ id }: { id: string }) {
  const { answer, error, reload } = useAnswer<{ event: unknown }>(`/mesh/dead-letters/${id}`);
  if (!answer) return error ? <Problem error={error} reload={reload} /> : <p class="muted">Reading …</p>;
  return <pre tabIndex={0}>{json(answer.event)}</pre>;
}

const nameOf = ({ subject, id }: DeadLetter) => subject ?? id;

function toggled(set: ReadonlySet<string>, id: string): ReadonlySet<string> {
  return new Set(set.has(id) ? [...set].filter((it) => it !== id) : [...set, id]);
}
