import { useEffect } from 'preact/hooks';
import { Contracts } from './contracts';
import { DeadLetters } from './dead-letters';
import { take } from './live';
import { Navigation } from './navigation';
import { Notices } from './notices';
import { Overview } from './overview';
import { Reconciliation } from './reconciliation';
import { PAGES, route, type Page } from './route';
import { session } from './server';
import { readSession } from './sign-in';
import { openStream } from './stream';
import { Timeline } from './timeline';
import { TokenForm } from './token-form';
import { Topology } from './topology';
import { useValue } from './value';

const VIEWS: Record<Page, () => preact.JSX.Element> = {
  overview: Overview,
  topology: Topology,
  timeline: Timeline,
  'dead-letters': DeadLetters,
  reconciliation: Reconciliation,
  contracts: Contracts,
};

export function App() {
  const current = useValue(session);
  useEffect(() => void readSession(), []);
  if (current === 'unknown')
    return (
      <main class="alone">
        <p role="status">Waiting for the server …</p>
      </main>
    );
  return current === 'token' ? <TokenForm /> : <Console />;
}

function Console() {
  const { page } = useValue(route);
  useEffect(() => openStream(take), []);
  useEffect(() => {
    document.title = `${PAGES[page]} · Mesh console`;
  }, [page]);
  const View = VIEWS[page];
  return (
    <>
      <Navigation page={page} />
      <main id="main" tabIndex={-1}>
        <View />
      </main>
      <Notices />
    </>
  );
}
