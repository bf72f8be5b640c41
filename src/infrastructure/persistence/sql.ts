/** The databases that the mesh can live in. */
export type Dialect = 'sqlite' | 'postgres';

/** A value that both drivers bind as it is. */
export type SqlValue = string | number | bigint | null;

/**
 * Plain statements below the ORM, prepared once per connection. Parameters are written `$1`, `$2`, …
 * on both databases.
 */
export interface Sql {
  readonly dialect: Dialect;
  /** Runs a statement and returns its rows. */
  all<Row>(statement: string, parameters?: readonly SqlValue[]): Promise<Row[]>;
  /** Runs a statement and returns how many rows it changed. */
  run(statement: string, parameters?: readonly SqlValue[]): Promise<number>;
}

/** Longest time in ms that a unit of work may take: it holds up everybody on SQLite, and locks rows on PostgreSQL. */
export const UNIT_LIMIT_MS = 1000;

/**
 * The database can't be reached, is locked by somebody else, or has no room: nothing was kept, try again later. Only when
 * PostgreSQL was lost in the middle of a COMMIT, it may have been carried out all the same.
 */
export class DatabaseUnavailable extends Error {
  override readonly name = 'DatabaseUnavailable';
}

/** What a driver said, also where TypeORM has wrapped it; of whatever a handler may throw. */
export function driverErrorOf(error: unknown): { readonly code?: unknown; readonly message?: unknown } {
  return Object((error as { driverError?: unknown } | null | undefined)?.driverError ?? error) as object;
}

/**
 * Whether the other side has gone, or doesn't take us: PostgreSQL's own classes for a lost or refused connection and a
 * server going down (https://www.postgresql.org/docs/15/errcodes-appendix.html), the socket's errors, and the driver's.
 */
export function isConnectionLost(error: unknown): boolean {
  const { code, message } = driverErrorOf(error);
  return (
    /^(08|57P0|53)/.test(String(code)) ||
    /^(ECONNREFUSED|ECONNRESET|EPIPE|ETIMEDOUT)$/.test(String(code)) ||
    /connection (terminated|error|ended)|not queryable|not currently accepting|exceeded when trying to connect/i.test(
      String(message),
    )
  );
}

/**
 * Whether a database says that it can't keep a value, however often it is asked: too long, out of range, NUL, too much
 * for an index. SQLite keeps anything.
 */
export function isDataException(error: unknown): boolean {
  return /^(22001|22003|22021|22P05|54000)$/.test(String(driverErrorOf(error).code));
}

/** Something used a unit of work that is over: a promise was not awaited. */
export class UnitEnded extends Error {
  override readonly name = 'UnitEnded';
}

/** A unit of work ran for longer than it may, and was rolled back. */
export class UnitTimedOut extends Error {
  override readonly name = 'UnitTimedOut';

  constructor() {
    super(
      `This unit of work took more than ${UNIT_LIMIT_MS} ms and was rolled back: ` +
        'waiting (network, timers, queries) belongs into prepare() or in front of the unit',
    );
  }
}
