import { errorMessage } from './error-message.js';

/** What the log says of an error: nothing that could hold data of users, as the parameters of a statement do. */
export interface SerializedError {
  readonly type: string;
  readonly message: string;
  readonly code?: string | number;
  readonly stack?: string;
  readonly cause?: SerializedError;
  /** The first errors of an AggregateError. */
  readonly errors?: readonly SerializedError[];
}

/** Causes of causes that are logged, and errors of an AggregateError. */
const MAX_CAUSES = 5;
const FRAME = /^ {4}at .*(:\d+|<anonymous>|index \d+|native)\)?$/;

/** Whether a value is an error, also of another realm. */
export function isError(value: unknown): value is Error {
  if (typeof value !== 'object' || value === null) return false;
  const { message, stack } = value as Partial<Error>;
  return typeof message === 'string' && typeof stack === 'string';
}

/** The type, message, code, stack and causes of an error; for any thrown value. */
export function serializeError(thrown: unknown, depth = MAX_CAUSES): SerializedError {
  const message = errorMessage(thrown);
  if (typeof thrown !== 'object' || thrown === null) return { type: typeof thrown, message };
  const { name, code, cause, errors, stack } = thrown as Partial<Error> & { code?: unknown; errors?: unknown };
  const type = thrown.constructor?.name || name || 'Error';
  const frames = framesOf(stack);
  return {
    type,
    message,
    ...((typeof code === 'string' || typeof code === 'number') && { code }),
    ...(frames && { stack: `${type}: ${message}\n${frames}` }),
    ...(depth > 0 && cause !== undefined && cause !== null && { cause: serializeError(cause, depth - 1) }),
    ...(depth > 0 &&
      Array.isArray(errors) && { errors: errors.slice(0, MAX_CAUSES).map((it) => serializeError(it, depth - 1)) }),
  };
}

/** The frames at the end of a stack. The message before them may have any number of lines. */
function framesOf(stack: string | undefined): string {
  const lines = String(stack ?? '').split('\n');
  const last = lines.findLastIndex((line) => !FRAME.test(line));
  return lines.slice(last + 1).join('\n');
}

/** Fields that may hold credentials or data of users. */
const SECRET = new Set([
  'authorization',
  'cookie',
  'headers',
  'body',
  'data',
  'parameters',
  'detail',
  'where',
  'driverError',
]);
/** Longest text of a field, in characters. */
const MAX_TEXT = 1000;
/** Levels of plain objects that are searched for errors and secret fields. */
const MAX_LEVELS = 4;

/** The fields of a log line: errors serialized, secret fields replaced, long texts cut, also in plain objects and arrays. */
export function withoutSecrets<Fields extends object>(fields: Fields, levels = MAX_LEVELS): Fields {
  let safe: Fields | undefined;
  for (const name of Object.keys(fields) as (keyof Fields & string)[]) {
    const value = fields[name];
    const isShort = typeof value !== 'object' && !isLong(value);
    if (isShort && !SECRET.has(name)) continue;
    const replaced = SECRET.has(name) ? '[redacted]' : safeValue(value, levels);
    if (replaced === value) continue;
    safe ??= (Array.isArray(fields) ? [...(fields as unknown[])] : { ...fields }) as Fields;
    safe[name] = replaced as Fields[typeof name];
  }
  return safe ?? fields;
}

function isLong(value: unknown): value is string {
  return typeof value === 'string' && value.length > MAX_TEXT;
}

/** A text as the log shows it: others may have chosen it. */
export function cutText(text: string): string {
  // Not through the middle of a character.
  return isLong(text) ? `${text.slice(0, MAX_TEXT).replace(/[\ud800-\udbff]$/, '')}…` : text;
}

function safeValue(value: unknown, levels: number): unknown {
  if (isLong(value)) return cutText(value);
  if (typeof value !== 'object' || value === null) return value;
  if (isError(value)) return serializeError(value);
  const isSearched = Array.isArray(value) || Object.getPrototypeOf(value) === Object.prototype;
  if (!isSearched) return value;
  return levels > 0 ? withoutSecrets(value, levels - 1) : '[deep]';
}
