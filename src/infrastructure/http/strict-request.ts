import type { IncomingMessage } from 'node:http';
import { ValidationFailed } from '../contracts/domain-errors.js';
import { hasBody } from './request-body.js';

const NO_BODY = { field: 'body', detail: 'this route takes no body, only query parameters' };

/**
 * The query parameters of a request, by name; a repeated one is a list, which no schema accepts. Refuses what a route would
 * ignore: a misspelt filter would let an action that concerns some act on all.
 * @param search the query string
 * @throws ValidationFailed that names the unknown parameters, or the body
 */
export function knownParameters(
  request: IncomingMessage,
  search: string,
  known: readonly string[],
  takesBody = false,
): Record<string, string | string[]> {
  const given = new URLSearchParams(search);
  const names = [...new Set(given.keys())];
  const expected = known.length > 0 ? `expected one of ${known.join(', ')}` : 'this route takes none';
  const issues = [
    ...(!takesBody && hasBody(request) ? [NO_BODY] : []),
    ...names
      .filter((name) => !known.includes(name))
      .map((field) => ({ field, detail: `unknown query parameter, ${expected}` })),
  ];
  if (issues.length > 0) throw new ValidationFailed(issues);
  const values = names.map((name): [string, string[]] => [name, given.getAll(name)]);
  return Object.fromEntries(values.map(([name, all]) => [name, all.length === 1 ? all[0]! : all]));
}
