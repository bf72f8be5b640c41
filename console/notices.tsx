import { useValue, Value } from './value';

interface Notice {
  readonly text: string;
  readonly isError: boolean;
}

const notice = new Value<Notice | undefined>(undefined);
/** How long a notice stays, in ms; an error stays until it is closed. */
const SHOWN_MS = 8000;
let timer: ReturnType<typeof setTimeout> | undefined;

/** Shows the result of an action, also to a screen reader. */
export function announce(text: string, isError = false): void {
  clearTimeout(timer);
  notice.set({ text, isError });
  if (!isError) timer = setTimeout(() => notice.set(undefined), SHOWN_MS);
}

/** Runs an action of the user and announces its result. */
export function attempt(action: () => Promise<string>): void {
  action().then(
    (text) => announce(text),
    (error: Error) => announce(error.message, true),
  );
}

export function Notices() {
  const shown = useValue(notice);
  return (
    <div class="notices" role="status" aria-live="polite">
      {shown && (
        <p class={shown.isError ? 'notice error' : 'notice'}>
          <span>{shown.isError ? `✕ Not done: ${shown.text}` : `✓ ${shown.text}`}</span>
          <button type="button" class="quiet" onClick={() => notice.set(undefined)} aria-label="Close the message">
            ✕
          </button>
        </p>
      )}
    </div>
  );
}
