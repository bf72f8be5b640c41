import { printable } from './printable.js';

/* Errors as text, for rows and responses. */

/** Longest text of an error, in characters. */
const MAX_LENGTH = 2000;

/** The error and its causes as text that every database can store and a terminal can show; for any thrown value. */
export function formatError(error: unknown): string {
  const parts: string[] = [];
  for (let it = error; it !== undefined && it !== null && parts.length < 5; it = (it as { cause?: unknown }).cause) {
    parts.push(nameAndMessage(it));
  }
  if (parts.length === 0) parts.push(String(error));
  // PostgreSQL stores no lone surrogate.
  return Buffer.from(printable(parts.join('\ncaused by ')).slice(0, MAX_LENGTH)).toString();
}

function nameAndMessage(thrown: unknown): string {
  try {
    const { name, message } = thrown as Partial<Error>;
    return message === undefined ? (JSON.stringify(thrown) ?? String(thrown)) : `${name ?? 'Error'}: ${message}`;
  } catch {
    return Object.prototype.toString.call(thrown);
  }
}

/** The first line of `formatError()`. */
export function firstLine(error: unknown): string {
  return formatError(error).split('\n', 1)[0]!;
}

/** The first line without ids and numbers: equal for errors with the same cause. At most 200 characters. */
export function errorFingerprint(error: unknown): string {
  return firstLine(error)
    .replace(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/gi, '<id>')
    .replace(/\d+/g, '<n>')
    .slice(0, 200);
}
