import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import { read } from './server';

export interface Asked<Answer> {
  /** The last answer for this path; stays while the next one is on its way. */
  readonly answer?: Answer;
  readonly error?: string;
  readonly reload: () => void;
}

/**
 * Reads a path, and again when `version` changes.
 * @param path undefined reads nothing
 */
export function useAnswer<Answer>(path: string | undefined, version: unknown = 0): Asked<Answer> {
  const [state, setState] = useState<{ path?: string; answer?: Answer; error?: string }>({});
  const [reloads, setReloads] = useState(0);
  const isReading = useRef<string | undefined>(undefined);
  const isMissed = useRef(false);
  useEffect(() => {
    if (path === undefined) return;
    // A slow server gets one request at a time; a change meanwhile is read afterwards.
    if (isReading.current === path) {
      isMissed.current = true;
      return;
    }
    isReading.current = path;
    const finish = (next: { answer?: Answer; error?: string }) => {
      if (isReading.current !== path) return;
      isReading.current = undefined;
      setState((last) => ({ ...(last.path === path && { answer: last.answer }), path, ...next }));
      if (isMissed.current) setReloads((n) => n + 1);
      isMissed.current = false;
    };
    read<Answer>(path).then(
      (answer) => finish({ answer, error: undefined }),
      (error: Error) => finish({ error: error.message }),
    );
  }, [path, version, reloads]);
  const reload = useCallback(() => setReloads((n) => n + 1), []);
  const isCurrent = state.path === path;
  return { ...(isCurrent && { answer: state.answer, error: state.error }), reload };
}
