import type { IncomingMessage } from 'node:http';
import { SetMetadata } from '@nestjs/common';
import type { z } from 'zod';
import { ValidationFailed } from '../contracts/domain-errors.js';

/** The metadata key of the query parameters that a route knows. */
export const QUERY_PARAMETERS = 'mesh:query-parameters';

/** Names the query parameters of an administrative route: the fields of the schema. Without it the route has none. */
export const QueryParameters = (schema: z.ZodObject) => SetMetadata(QUERY_PARAMETERS, Object.keys(schema.shape));

/**
 * Refuses what a route would ignore: a misspelt filter would let an action that concerns some act on all.
 * @throws ValidationFailed that names the unknown parameters, or the body
 */
export function assertKnown(request: IncomingMessage, url: string, known: readonly string[]): void {
  const given = new URLSearchParams(/\?(.*)/s.exec(url)?.[1]);
  const unknown = [...new Set(given.keys())].filter((name) => !known.includes(name));
  const expected = known.length > 0 ? `expected one of ${known.join(', ')}` : 'this route takes none';
  const issues = unknown.map((field) => ({ field, detail: `unknown query parameter, ${expected}` }));
  if (hasBody(request)) issues.push({ field: 'body', detail: 'this route takes no body, only query parameters' });
  if (issues.length > 0) throw new ValidationFailed(issues);
}

/** Whether a request has a body, also one that is not read yet. */
export function hasBody({ headers }: IncomingMessage): boolean {
  return Number(headers['content-length'] ?? 0) > 0 || headers['transfer-encoding'] !== undefined;
}
