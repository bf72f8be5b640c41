/* The messages of errors, without the data of users: messages of databases and parsers quote values. */

interface AnyError {
  readonly name?: unknown;
  readonly message?: unknown;
  readonly code?: unknown;
  readonly routine?: unknown;
  readonly severity?: unknown;
  readonly criteria?: unknown;
  readonly parameters?: unknown;
  readonly driverError?: unknown;
  readonly errors?: unknown;
}

/** SQLSTATEs whose messages name tables, columns, constraints, prepared statements and connections, but no values. */
const PLAIN_SQLSTATE = /^(08|23|25|26|28|3D|3F|40|42501|42703|42883|42P01|42P05|53|54|55|57|58|F0|XX)/;
/** The routine of PostgreSQL that refuses a prepared statement whose result has other types now, with a fixed message. */
const PLAIN_ROUTINE = 'RevalidateCachedQuery';
/** Results of SQLite whose messages may quote a statement, or a text of a trigger. */
const QUOTING_SQLITE = /^SQLITE_(ERROR|CONSTRAINT_TRIGGER)$/;
/** Messages of SQLITE_ERROR that name a table or a column only. */
const PLAIN_SQLITE = /^(no such (table|column|index|function): [\w.]+|table \w+ has no column named \w+)$/;

/** The message of an error without the values that it quotes; for any thrown value. Empty when there is no message. */
export function errorMessage(thrown: unknown): string {
  if (typeof thrown !== 'object' || thrown === null) return String(thrown);
  const error = thrown as AnyError;
  const message = textOf(error.message);
  const cause = driverErrorOf(error);
  if (cause) return databaseMessage(cause, error.parameters);
  // EntityNotFoundError of TypeORM prints the conditions of the query.
  if ('criteria' in error) return message.split(' matching: ', 1)[0]!;
  // V8 prints the text around the fault.
  if (error.name === 'SyntaxError') return 'A text has the wrong syntax, such as malformed JSON';
  // Node gives an error for each address of a server, and an empty message.
  return message || (Array.isArray(error.errors) && error.errors.length > 0 ? errorMessage(error.errors[0]) : '');
}

/** The error of PostgreSQL, of better-sqlite3 or of their drivers, also inside an error of TypeORM. */
function driverErrorOf(error: AnyError): AnyError | undefined {
  if (typeof error.driverError === 'object' && error.driverError !== null) return error.driverError;
  const isOfDriver = typeof error.severity === 'string' || /^SQLITE_/.test(String(error.code));
  return isOfDriver || Array.isArray(error.parameters) ? error : undefined;
}

function databaseMessage({ code, message, routine }: AnyError, parameters: unknown): string {
  const text = textOf(message);
  const name = typeof code === 'string' ? code : '';
  const hidden = `The database refused a statement${name && ` (${name})`}: its message may hold data, and is left out`;
  if (name.startsWith('SQLITE_')) return QUOTING_SQLITE.test(name) && !PLAIN_SQLITE.test(text) ? hidden : text;
  if (/^[0-9A-Z]{5}$/.test(name) && !/^E[A-Z]{4}$/.test(name))
    return PLAIN_SQLSTATE.test(name) || routine === PLAIN_ROUTINE ? text : hidden;
  // An error of the connection or of the driver itself.
  const quoted = Array.isArray(parameters) ? parameters.map(String) : [];
  return quoted.some((it) => text.includes(it)) ? hidden : text;
}

function textOf(message: unknown): string {
  return typeof message === 'string' ? message : '';
}
