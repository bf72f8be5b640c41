/* How a failed delivery is written down. */

/** What is shown of an error, with the errors behind it: text that every database can keep, whatever was thrown. */
export function formatError(error: unknown): string {
  const parts: string[] = [];
  for (let it = error; it !== undefined && it !== null && parts.length < 5; it = (it as { cause?: unknown }).cause) {
    parts.push(shown(it));
  }
  if (parts.length === 0) parts.push(String(error));
  // PostgreSQL keeps no NUL, and no half of a pair.
  return Buffer.from(parts.join('\ncaused by ').replaceAll('\0', '').slice(0, 2000)).toString();
}

function shown(thrown: unknown): string {
  try {
    const { name, message } = thrown as Partial<Error>;
    return message === undefined ? (JSON.stringify(thrown) ?? String(thrown)) : `${name ?? 'Error'}: ${message}`;
  } catch {
    return Object.prototype.toString.call(thrown);
  }
}

/** The first line of that. */
export function firstLine(error: unknown): string {
  return formatError(error).split('\n', 1)[0]!;
}

/** Errors with the same cause read the same: without the ids and numbers that differ from message to message. */
export function errorFingerprint(error: unknown): string {
  return firstLine(error)
    .replace(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/gi, '<id>')
    .replace(/\d+/g, '<n>')
    .slice(0, 200);
}
