import { useId, useRef } from 'preact/hooks';
import { attempt } from './notices';

interface ConfirmProps {
  readonly label: string;
  readonly question: string;
  readonly explanation: string;
  readonly isDisabled?: boolean;
  /** @returns what to announce */
  readonly act: () => Promise<string>;
}

/** A button whose action can't be taken back, so that it asks first. */
export function ConfirmButton({ label, question, explanation, isDisabled, act }: ConfirmProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  const id = useId();
  return (
    <>
      <button type="button" class="danger" disabled={isDisabled} onClick={() => dialog.current!.showModal()}>
        {label}
      </button>
      <dialog ref={dialog} aria-labelledby={id}>
        <h2 id={id}>{question}</h2>
        <p>{explanation}</p>
        <form method="dialog" class="row">
          <button type="submit" autofocus>
            Cancel
          </button>
          <button type="submit" class="danger" onClick={() => attempt(act)}>
            {label}
          </button>
        </form>
      </dialog>
    </>
  );
}
