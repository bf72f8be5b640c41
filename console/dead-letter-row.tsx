import { useState } from 'preact/hooks';
import { ConfirmButton } from './confirm-button';
import { json, time } from './format';
import type { DeadLetter } from './mesh-types';
import { hashOf } from './route';
import { useAnswer } from './use-answer';
import { Problem } from './waiting';

interface RowProps {
  readonly letter: DeadLetter;
  readonly mayChange: boolean;
  readonly isChecked: boolean;
  check(isChecked: boolean): void;
  requeue(): void;
  discard(): Promise<string>;
}

export function DeadLetterRow({ letter, mayChange, isChecked, check, requeue, discard }: RowProps) {
  const [isOpen, setOpen] = useState(false);
  const { id, subject, attempts, error, deadAt, destination } = letter;
  const name = subject ?? id;
  return (
    <>
      <tr>
        {mayChange && (
          <td>
            <input
              type="checkbox"
              aria-label={`Check ${name}`}
              checked={isChecked}
              onChange={(event) => check(event.currentTarget.checked)}
            />
          </td>
        )}
        <th scope="row">{subject === null ? '–' : <a href={hashOf('timeline', { subject })}>{subject}</a>}</th>
        <td>{time(deadAt)}</td>
        <td class="number">{attempts || '–'}</td>
        <td class="error-text">
          {error}
          {destination && <span class="muted"> at {destination}</span>}
        </td>
        <td>
          <button type="button" aria-expanded={isOpen} aria-label={`Event of ${name}`} onClick={() => setOpen(!isOpen)}>
            {isOpen ? 'Hide' : 'Show'}
          </button>
        </td>
      </tr>
      {isOpen && (
        <tr>
          <td colSpan={mayChange ? 6 : 5}>
            <Event id={id} />
            {mayChange && (
              <div class="row">
                <button type="button" onClick={requeue}>
                  Requeue this message
                </button>
                <ConfirmButton
                  label="Discard this message"
                  question="Discard this message?"
                  explanation="A discarded message is deleted. Its effect never happens."
                  act={discard}
                />
              </div>
            )}
          </td>
        </tr>
      )}
    </>
  );
}

function Event({ id }: { id: string }) {
  const { answer, error, reload } = useAnswer<{ event: unknown }>(`/mesh/dead-letters/${id}`);
  if (!answer) return error ? <Problem error={error} reload={reload} /> : <p class="muted">Reading …</p>;
  return (
    <pre tabIndex={0} aria-label="Event">
      {json(answer.event)}
    </pre>
  );
}
