import type { ProcessState } from './mesh-types';
import { readSession } from './sign-in';
import { Value } from './value';

export type Connection = 'connecting' | 'live' | 'reconnecting' | 'paused';

/** The state of the stream. */
export const connection = new Value<Connection>('connecting');

/** Silence after which the connection counts as broken, in ms: the server sends a state each second. */
const SILENCE_MS = 6000;
/** Pause before a broken stream is opened again, in ms: browsers wait longer, and give up after an answer such as 503. */
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
      // The server has answered, but not with a stream: the session may have ended.
      if (source?.readyState === EventSource.CLOSED) void readSession();
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
