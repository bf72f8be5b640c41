import { MalformedEvent } from '../cloudevents/attributes.js';
import { Forbidden } from '../contracts/domain-errors.js';
import { Reject } from '../contracts/message.js';
import { Unauthorized } from '../http/bearer-tokens.js';
import { BodyRefused } from '../http/request-body.js';
import { errorMessage } from '../observability/error-message.js';
import { firstLine } from '../observability/format-error.js';

/** The status for an error that no retry can cure. */
export function refusalStatus(error: unknown): number | undefined {
  if (error instanceof BodyRefused) return error.status;
  if (error instanceof MalformedEvent) return 400;
  if (error instanceof Reject) return 422;
  if (error instanceof Unauthorized) return 401;
  if (error instanceof Forbidden) return 403;
  return undefined;
}

/** The first line of an error without the values that a database quotes: brokers log the answers of consumers. */
export function withoutValues(error: unknown): string {
  return firstLine(error instanceof Error ? { name: error.name, message: errorMessage(error) } : error);
}
