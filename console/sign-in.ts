import type { Session } from './mesh-types';
import { call, read, Refused, session } from './server';

const PATH = '/mesh/console/session';
/** Pause before the next request while the server doesn't answer, in ms. */
const PAUSE_MS = 2000;

let reading: Promise<void> | undefined;

/** Reads the session, again and again while the server doesn't answer. */
export function readSession(): Promise<void> {
  reading ??= readUntilAnswered().finally(() => (reading = undefined));
  return reading;
}

async function readUntilAnswered(): Promise<void> {
  for (;;) {
    try {
      return session.set(await read<Session>(PATH));
    } catch (error) {
      if (error instanceof Refused && error.status === 401) return session.set('token');
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
  }
}

/** @throws Refused when the token is wrong */
export async function signIn(token: string): Promise<void> {
  session.set(await call<Session>('POST', PATH, { token }));
}

export async function signOut(): Promise<void> {
  await call('DELETE', PATH);
  session.set('token');
}
