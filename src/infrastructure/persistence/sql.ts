/** The databases that the mesh supports. */
export type Dialect = 'sqlite' | 'postgres';

/** A value that both drivers bind unchanged. */
export type SqlValue = string | number | bigint | null;

/** A value, or on PostgreSQL an array for `unnest($1::text[])`. */
export type SqlParameter = SqlValue | readonly SqlValue[];

/** Plain statements below the ORM, prepared once per connection. Parameters are written `$1`, `$2`, … on both databases. */
export interface Sql {
  readonly dialect: Dialect;
  /** Runs a statement and returns its rows. */
  all<Row>(statement: string, parameters?: readonly SqlParameter[]): Promise<Row[]>;
  /** Runs a statement and returns how many rows it changed. */
  run(statement: string, parameters?: readonly SqlParameter[]): Promise<number>;
}

/** Marks a transaction on PostgreSQL, until its end. */
export const MARK_TRANSACTION = `SET LOCAL mesh.unit = 'open'`;
/**
 * The condition that a statement runs in a transaction. For statements that are sent together with its BEGIN: if that fails,
 * they would be committed on their own.
 */
export const IN_TRANSACTION = `current_setting('mesh.unit', true) = 'open'`;

/** Longest time of a unit of work, in ms: it holds up all other units on SQLite, and locks rows on PostgreSQL. */
export const UNIT_LIMIT_MS = 1000;

/**
 * The database can't be reached, is locked by another process, is damaged, or has no room. Nothing was stored, except when PostgreSQL
 * was lost during a COMMIT: then the outcome is unknown.
 */
export class DatabaseUnavailable extends Error {
  override readonly name = 'DatabaseUnavailable';
}

/** The database works, but failed this unit of work through no fault of the unit. Others may succeed meanwhile. */
export class PartlyUnavailable extends DatabaseUnavailable {}

/** Where in its source PostgreSQL raised an error; unlike messages, these names aren't translated. */
interface ServerError {
  readonly code?: unknown;
  readonly message?: unknown;
  readonly routine?: unknown;
  readonly file?: unknown;
}

/** The error of the driver, also inside an error of TypeORM; for any thrown value. */
export function driverErrorOf(error: unknown): { readonly code?: unknown; readonly message?: unknown } {
  return Object((error as { driverError?: unknown } | null | undefined)?.driverError ?? error) as object;
}

const reported = new WeakSet<object>();

/**
 * Remembers an error as one of a connection to the database of the mesh. A handler may throw errors of other systems with the
 * same codes: the ECONNREFUSED of an HTTP client, or the deadlock of another database. @returns the error
 */
export function noteReported<T>(error: T): T {
  reported.add(driverErrorOf(error));
  return error;
}

/** Whether a connection to the database of the mesh reported the error; also inside an error of TypeORM. */
export function isReported(error: unknown): boolean {
  return reported.has(driverErrorOf(error));
}

/** PostgreSQL's routines for RAISE, and for errors of other servers (postgres_fdw, dblink): the server itself is well. */
const PASSED_ON = /^(exec_stmt_raise|pgfdw_report_error|dblink_res_error)$/;

/** Whether the database of the mesh reported the error about itself. */
export function isOfServer(error: unknown): boolean {
  return isReported(error) && !PASSED_ON.test(String((driverErrorOf(error) as ServerError).routine));
}

/** Whether SQLite can't use the file: it is damaged or no database, the disk is full or fails. No statement is at fault. */
export function isFileUnusable(error: unknown): boolean {
  return /^SQLITE_(CORRUPT|NOTADB|IOERR|FULL|CANTOPEN)/.test(String(driverErrorOf(error).code));
}

/**
 * Whether PostgreSQL fails a statement through no fault of the statement: a right is missing (42501), data or an index is
 * damaged (XX001, XX002), or a table, column or schema of the mesh is missing (42P01, 42703, 3F000), as during a restore.
 * A missing table of a module may be a typo in a handler, and must not be retried without end: it isn't among these. Nor is
 * 42501 of a policy for rows or of RAISE, which depends on values: only the check of rights counts.
 */
export function isServerAtFault(error: unknown): boolean {
  const { code, message, routine } = driverErrorOf(error) as ServerError;
  if (!isOfServer(error)) return false;
  if (code === '42501') return String(routine).startsWith('aclcheck_error');
  if (/^(42P01|42703|3F000)$/.test(String(code))) return /\bmesh_\w/.test(String(message));
  return code === 'XX001' || code === 'XX002';
}

/** Whether the database is at fault, and no statement: see `isServerAtFault()`; or SQLite can't use its file. */
export function isDatabaseUnusable(error: unknown): boolean {
  return (isReported(error) && isFileUnusable(error)) || isServerAtFault(error);
}

/** The driver's own words: it makes these errors for each statement, so they can't be noted where they are made. */
const OF_DRIVER =
  /^(Connection terminated|Client (has encountered a connection error|was closed) and is not queryable|timeout exceeded when trying to connect)$/;

/**
 * Whether a connection is lost or refused: PostgreSQL's classes 08, 53, 57P0 and 58, and time-outs that end a session
 * (https://www.postgresql.org/docs/15/errcodes-appendix.html), errors of the socket, and those of the driver. Also
 * whether the database can't be used. Not the errors of one statement: a wrong number of parameters (08P01 of the server
 * itself; poolers name no routine), a limit for temporary files (53400), a file that the statement names (58P01).
 */
export function isConnectionLost(error: unknown): boolean {
  if (isDatabaseUnusable(error)) return true;
  const { code, message, routine, file } = driverErrorOf(error) as ServerError;
  if (OF_DRIVER.test(String(message))) return true;
  if (!isOfServer(error)) return false;
  if (/^08/.test(String(code))) return routine === undefined;
  // A database that takes no connections for now, as during its restore.
  if (code === '55000') return routine === 'CheckMyDatabase';
  if (code === '58P01') return /^(md|slru|fd)\.c$/.test(String(file));
  return (
    /^(57P0|53[0-3]|58|25P0[34])/.test(String(code)) ||
    /^(ECONN(REFUSED|RESET|ABORTED)|EPIPE|ETIMEDOUT|E(HOST|NET)UNREACH|ENET(DOWN|RESET))$/.test(String(code)) ||
    (routine === undefined && /connection (terminated|error|ended)/i.test(String(message)))
  );
}

/**
 * Whether other transactions stood in the way on PostgreSQL: a deadlock, a lock that did not become free in time,
 * transactions that can't be serialised (SQLSTATE 40P01, 55P03, 40001).
 */
export function isConflict(error: unknown): boolean {
  return isReported(error) && /^(40P01|55P03|40001)$/.test(String(driverErrorOf(error).code));
}

/** Whether the same may work a moment later: conflicts, and a statement that was cancelled (57014). */
export function isTransient(error: unknown): boolean {
  return isConflict(error) || (isReported(error) && driverErrorOf(error).code === '57014');
}

/**
 * Whether the database can never store a value: too long, out of range, NUL, or too large for an index (SQLSTATE 22 and
 * 54000). SQLite stores any value.
 */
export function isDataException(error: unknown): boolean {
  return isReported(error) && /^(22001|22003|22021|22P05|54000)$/.test(String(driverErrorOf(error).code));
}

/** A unit of work was used after its end, because a promise was not awaited. */
export class UnitEnded extends Error {
  override readonly name: string = 'UnitEnded';
}

/** A transaction of TypeORM inside of a unit failed, and its rollback would have undone what other code of the unit has written. */
export class TransactionsOverlap extends UnitEnded {
  override readonly name = 'TransactionsOverlap';

  constructor() {
    super(
      'A transaction inside of this unit of work failed while other code of the unit wrote: both are one transaction, so the ' +
        'unit was rolled back. Await a transaction before the next statement, and use its entity manager inside of it',
    );
  }
}

/** A unit of work took too long and was rolled back. */
export class UnitTimedOut extends Error {
  override readonly name = 'UnitTimedOut';

  constructor() {
    super(
      `This unit of work took more than ${UNIT_LIMIT_MS} ms and was rolled back: ` +
        'do waiting (network, timers, queries) in prepare() or before the unit',
    );
  }
}
