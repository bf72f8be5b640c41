import type { ProcessState } from './mesh-types';
import { readSession } from './sign-in';
import { Value } from './value';

export type Connection = 'connecting' | 'live' | 'reconnecting' | 'paused';

/** The state of the stream. */
export const connection = new Value<Connection>('connecting');

/** Silence after which the connection counts as broken, in ms: the server sends a state each second. */
const SILENCE_MS = 6000;
/** Pause before a stream is opened again that the browser gave up, in ms. */
const PAUSE_MS = 1000;

let source: EventSource | undefined;
let timer: ReturnType<typeof setTimeout> | undefined;

/**
 * Opens the stream of states while the page is visible.
 * @returns a function that closes it
 */
export function openStream(onState: (state: ProcessState) => void): () => void {
  const open = () => {
    close();
    source = new EventSource('/mesh/console/stream');
    source.addEventListener('state', ({ data }) => {
      connection.set('live');
      reopenIn(SILENCE_MS);
      onState(JSON.parse(data as string) as ProcessState);
    });
    source.onerror = () => {
      connection.set('reconnecting');
      // The browser reconnects after a network error, but not after an answer such as 401 or 503.
      if (source?.readyState !== EventSource.CLOSED) return reopenIn(SILENCE_MS);
      void readSession();
      reopenIn(PAUSE_MS);
    };
    reopenIn(SILENCE_MS);
  };
  const reopenIn = (ms: number) => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      connection.set('reconnecting');
      open();
    }, ms);
  };
  const follow = () => {
    if (document.hidden) {
      close();
      connection.set('paused');
    } else {
      connection.set('connecting');
      open();
    }
  };
  document.addEventListener('visibilitychange', follow);
  follow();
  return () => {
    document.removeEventListener('visibilitychange', follow);
    close();
  };
}

function close(): void {
  clearTimeout(timer);
  source?.close();
  source = undefined;
}
