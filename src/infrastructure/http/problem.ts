import { HttpException } from '@nestjs/common';
import {
  BusinessRuleViolation,
  Conflict,
  DomainError,
  Forbidden,
  NotFound,
  Unavailable,
  ValidationFailed,
} from '../contracts/domain-errors.js';
import { requestContext } from '../observability/request-context.js';
import { DatabaseUnavailable, isConnectionLost, isTransient, UnitTimedOut } from '../persistence/sql.js';
import { KeysUnavailable, Unauthorized } from './bearer-tokens.js';
import { BodyRefused } from './request-body.js';

/** A problem document (RFC 9457). `errors` names the fields. */
export interface Problem {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail?: string;
  readonly instance?: string;
  readonly correlationId?: string;
  readonly errors?: readonly { field: string; detail: string }[];
}

export const PROBLEM_TYPE = 'application/problem+json; charset=utf-8';

const TITLES: Record<number, string> = {
  400: 'Malformed request',
  401: 'Authentication required',
  403: 'Not allowed',
  404: 'Not found',
  405: 'Method not allowed',
  408: 'Request timeout',
  409: 'Conflict',
  413: 'Content too large',
  415: 'Unsupported media type',
  417: 'Expectation failed',
  422: 'Business rule violated',
  431: 'Headers too large',
  500: 'Internal error',
  503: 'Service unavailable',
};

/**
 * The problem document of an error, and the headers that belong to it.
 * @param path of the request, without the query string, which may hold data of users
 */
export function problemOf(error: unknown, path?: string): { problem: Problem; headers: Record<string, string> } {
  const { status, ...known } = classify(error);
  const problem: Problem = {
    type: 'about:blank',
    title: TITLES[status] ?? 'Problem',
    status,
    ...known,
    instance: path,
    correlationId: requestContext()?.correlationId,
  };
  const headers = {
    ...(status === 503 && { 'Retry-After': String(retryAfterOf(error)) }),
    ...(error instanceof Unauthorized && { 'WWW-Authenticate': error.challenge }),
  };
  return { problem, headers };
}

/** Whether an error isn't the fault of its request, and nothing else has logged it. */
export function isWorthLogging(error: unknown, { status }: Problem): boolean {
  return status >= 500 && !(error instanceof BodyRefused) && !(error instanceof KeysUnavailable);
}

function classify(error: unknown): Pick<Problem, 'status' | 'detail' | 'errors'> {
  if (error instanceof ValidationFailed) return { status: 400, detail: error.message, errors: error.issues };
  if (error instanceof DomainError) {
    const { message, field } = error;
    return { status: statusOf(error), detail: message, ...(field && { errors: [{ field, detail: message }] }) };
  }
  if (error instanceof BodyRefused) return { status: error.status, detail: error.message };
  if (error instanceof Unauthorized) {
    return { status: 401, detail: error.message, errors: [{ field: 'Authorization', detail: error.message }] };
  }
  // The reason holds addresses, so it is in the log only.
  if (error instanceof KeysUnavailable) {
    return { status: 503, detail: 'The keys of the issuer are not available, so the token was not checked: try again' };
  }
  if (error instanceof UnitTimedOut || isTransient(error))
    return { status: 503, detail: 'The request took too long and had no effect: try again' };
  // The effects may be there all the same: a COMMIT that timed out may have been carried out.
  if (error instanceof DatabaseUnavailable || isConnectionLost(error)) {
    return {
      status: 503,
      detail: 'The database does not answer: try again, with the same Idempotency-Key if there was one',
    };
  }
  const status = error instanceof HttpException ? error.getStatus() : parserStatus(error);
  return status < 500 ? { status, detail: (error as Error).message } : { status };
}

/** The value of `Retry-After` with 503, in seconds. */
export function retryAfterOf(error: unknown): number {
  return error instanceof KeysUnavailable ? error.retryAfterS : 1;
}

function statusOf(refusal: DomainError): number {
  if (refusal instanceof NotFound) return 404;
  if (refusal instanceof Forbidden) return 403;
  if (refusal instanceof Conflict) return 409;
  if (refusal instanceof BusinessRuleViolation) return 422;
  if (refusal instanceof Unavailable) return 503;
  return 500;
}

/** Express and its body parser throw plain errors with a status; below 500 the request is at fault. */
function parserStatus(error: unknown): number {
  const { status } = error as { status?: unknown };
  return typeof status === 'number' && status >= 400 && status < 500 ? status : 500;
}
