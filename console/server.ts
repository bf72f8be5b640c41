import type { Session } from './mesh-types';
import { Value } from './value';

/** An answer of the server that isn't a success. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

/** The session; 'unknown' until the first answer, 'token' when the server asks for one. */
export const session = new Value<Session | 'unknown' | 'token'>('unknown');

/** @throws Refused with the detail of the problem document; Error when the server doesn't answer */
export async function call<Answer>(method: string, path: string, body?: object): Promise<Answer> {
  const isChange = method !== 'GET';
  const response = await fetch(path, {
    method,
    headers: {
      accept: 'application/json',
      // A page of another origin can't send this header without permission.
      ...(isChange && { 'x-mesh-console': '1' }),
      ...(body && { 'content-type': 'application/json' }),
    },
    ...(body && { body: JSON.stringify(body) }),
  }).catch(() => {
    throw new Error('The server does not answer. The console goes on when it does.');
  });
  const text = await response.text();
  const answer = parsed(text);
  if (response.ok) return answer as Answer;
  if (response.status === 401 && session.get() !== 'unknown') session.set('token');
  throw new Refused(response.status, detailOf(answer) ?? `The server answered ${response.status}.`);
}

export const read = <Answer>(path: string) => call<Answer>('GET', path);

/** A path with those parameters that have a value. */
export function pathOf(path: string, parameters: Readonly<Record<string, string | number | undefined>>): string {
  const given = Object.entries(parameters).filter(([, value]) => value !== undefined && value !== '');
  const query = new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString();
  return query ? `${path}?${query}` : path;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // A proxy may answer with HTML, and 204 has no body.
    return undefined;
  }
}

function detailOf(problem: unknown): string | undefined {
  const { detail, title } = (problem ?? {}) as { detail?: unknown; title?: unknown };
  if (typeof detail === 'string') return detail;
  return typeof title === 'string' ? title : undefined;
}
