import { attempt } from './notices';
import { hashOf, PAGES, type Page } from './route';
import { session } from './server';
import { signOut } from './sign-in';
import { connection, type Connection } from './stream';
import { useValue } from './value';

const STATES: Record<Connection, { sign: string; text: string }> = {
  connecting: { sign: '○', text: 'Connecting' },
  live: { sign: '●', text: 'Live' },
  reconnecting: { sign: '↻', text: 'Reconnecting' },
  paused: { sign: '‖', text: 'Paused' },
};

export function Navigation({ page }: { page: Page }) {
  const state = useValue(connection);
  const { sign, text } = STATES[state];
  return (
    <header class="shell">
      <p class="brand">
        <img src="/mesh/console/icon.svg" alt="" width="26" height="26" />
        <span>Mesh console</span>
      </p>
      <nav aria-label="Pages">
        <ul>
          {Object.entries(PAGES).map(([name, title]) => (
            <li key={name}>
              <a href={hashOf(name as Page)} aria-current={name === page ? 'page' : undefined}>
                {title}
              </a>
            </li>
          ))}
        </ul>
      </nav>
      <p class={`connection ${state}`} role="status">
        <span aria-hidden="true">{sign}</span> {text}
      </p>
      <Account />
    </header>
  );
}

function Account() {
  const current = useValue(session);
  if (typeof current === 'string') return null;
  return (
    <div class="account">
      {current.role === 'reader' && <span class="tag">read only</span>}
      {current.needsToken && (
        <button
          type="button"
          class="quiet"
          onClick={() => attempt(async () => (await signOut(), 'You have signed out.'))}
        >
          Sign out
        </button>
      )}
    </div>
  );
}
