import type { Session } from './mesh-types';
import { session } from './server';
import { useValue } from './value';

/** The session of the user, who has signed in. */
export function useSession(): Session {
  const current = useValue(session);
  return typeof current === 'string' ? NOTHING : current;
}

const NOTHING: Session = { role: 'reader', isDevelopment: false, needsToken: false, consumers: [], actions: [] };
