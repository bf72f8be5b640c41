import type { Asked } from './use-answer';

/** A page whose data isn't there yet, or could not be read. */
export function Waiting({ title, asked: { error, reload } }: { title: string; asked: Asked<unknown> }) {
  return (
    <>
      <h1>{title}</h1>
      <Problem error={error} reload={reload} />
      {!error && <p class="muted">Reading …</p>}
    </>
  );
}

export function Problem({ error, reload }: { error?: string; reload?: () => void }) {
  if (!error) return null;
  return (
    <p class="banner bad" role="alert">
      ✕ {error}{' '}
      {reload && (
        <button type="button" onClick={reload}>
          Try again
        </button>
      )}
    </p>
  );
}
