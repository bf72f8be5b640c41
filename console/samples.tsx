import { time } from './format';
import type { SeenSample } from './live';
import { hashOf } from './route';

const SHOWN = 10;

/** The last messages that the stream has shown. */
export function Samples({ samples }: { samples: readonly SeenSample[] }) {
  return (
    <>
      <h3>Last messages</h3>
      {samples.length === 0 && <p class="muted">None since this page was opened.</p>}
      <ul class="samples">
        {samples.slice(0, SHOWN).map(({ id, type, subject, consumer, outcome, at }) => (
          <li key={`${id} ${consumer} ${at}`}>
            <span class="muted">{time(new Date(at).toISOString())}</span> {type}{' '}
            {subject !== null && <a href={hashOf('timeline', { subject })}>{subject}</a>}{' '}
            <span class="muted">
              {outcome} by {consumer}
            </span>
          </li>
        ))}
      </ul>
    </>
  );
}
