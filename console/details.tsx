import type { ComponentChildren } from 'preact';
import { useEffect, useRef } from 'preact/hooks';

interface DetailsProps {
  readonly label: string;
  /** Changes with what is shown. */
  readonly name: string;
  readonly children: ComponentChildren;
  readonly close: () => void;
}

/** What the user has opened, beside the page. It takes the focus, and gives it back when it is closed. */
export function Details({ label, name, children, close }: DetailsProps) {
  const aside = useRef<HTMLElement>(null);
  const opener = useRef<Element | null>(null);
  useEffect(() => {
    if (!aside.current!.contains(document.activeElement)) opener.current = document.activeElement;
    aside.current!.focus();
  }, [name]);
  useEffect(() => () => (opener.current as HTMLElement | SVGElement | null)?.focus(), []);
  return (
    <aside
      ref={aside}
      class="card details"
      aria-label={label}
      tabIndex={-1}
      onKeyDown={({ key }) => key === 'Escape' && close()}
    >
      <button type="button" class="quiet close" aria-label="Close the details" onClick={close}>
        ✕
      </button>
      {children}
    </aside>
  );
}
