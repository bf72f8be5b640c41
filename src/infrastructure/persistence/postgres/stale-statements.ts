import type { EventEmitter } from 'node:events';
import type { ClientBase } from 'pg';
import { DatabaseUnavailable, driverErrorOf, UnitEnded } from '../sql.js';
import { faultOfDatabase } from './engine-errors.js';
import { closeConnection } from './timeouts.js';

/** How many causes of an error are searched for a fault of the database: a handler may wrap the error of a statement. */
const MAX_CAUSES = 5;

/** The routine of PostgreSQL that refuses a plan: its message is translated, and 0A000 has many meanings. */
const REPLANNING = 'RevalidateCachedQuery';

/**
 * Whether the prepared statements of a connection are of no use: a column has another type than when a statement was prepared
 * (0A000), or a pooler gave the connection another session, which doesn't have the statement (26000) or has it already
 * (42P05). A handler may PREPARE and EXECUTE statements of its own, so these two count for the names of the mesh only.
 */
export function isStale(error: unknown): boolean {
  const { code, message, routine } = driverErrorOf(error) as ReturnType<typeof driverErrorOf> & { routine?: unknown };
  if (code === '0A000') return routine === REPLANNING;
  return (code === '26000' || code === '42P05') && /\bmesh_\w/.test(String(message));
}

/**
 * Repeats work whose connection is closed when its statements are stale. Each connection of a pool may be, and the next one is
 * new. @throws DatabaseUnavailable when new connections fail as well
 */
export async function repeatStale<T>(poolSize: number, work: () => Promise<T>): Promise<T> {
  for (let repetitions = 0; ; repetitions++) {
    try {
      return await work();
    } catch (error) {
      if (!isStale(error)) throw error;
      if (repetitions < poolSize) continue;
      const advice =
        driverErrorOf(error).code === '0A000'
          ? 'the columns of a table change again and again'
          : 'a pooler needs pool_mode = session, and no unit of work may run DEALLOCATE or DISCARD';
      throw new DatabaseUnavailable(`Prepared statements fail on each connection: ${advice}`, { cause: error });
    }
  }
}

/**
 * Watches a connection of a pool during a transaction: a handler may catch the error of a statement, and throw another one. What
 * fails in an aborted transaction shows nothing: in a pipeline a statement may be run there whose Parse has failed before.
 */
export class StatementWatch {
  /** The error that shows that the statements are stale. */
  private error?: unknown;
  /** The last error that aborted the transaction, if it was another one. */
  private abortedBy?: unknown;
  private isAborted = false;
  /** The error that aborted the transaction, until a savepoint is rolled back. */
  private abort?: unknown;
  private hasBegun = false;
  private hasEnded = false;
  private readonly connection: EventEmitter;

  constructor(private readonly client: ClientBase) {
    this.connection = (client as unknown as { connection: EventEmitter }).connection;
    this.connection.on('errorMessage', this.failed);
    this.connection.on('readyForQuery', this.answered);
    this.connection.on('commandComplete', this.completed);
  }

  /**
   * To be called before the COMMIT. @throws the error of stale statements, also when it was caught in a savepoint: the work
   * begins anew; UnitEnded when a statement of a unit has ended the transaction in spite of `assertKeepsTransaction()`
   */
  assertCommittable(): void {
    if (this.error) throw this.error as Error;
    if (this.hasEnded) throw new UnitEnded('A statement of this unit of work ended its transaction');
  }

  /** The fault of the database that made a unit fail: it aborted the transaction, or the unit threw it on. */
  faultBehind(thrown: unknown): DatabaseUnavailable | undefined {
    const aborting = faultOfDatabase(this.abort);
    if (aborting) return aborting;
    let cause = thrown;
    for (let depth = 0; depth < MAX_CAUSES && cause; depth++) {
      const fault = faultOfDatabase(cause);
      if (fault) return fault;
      cause = (cause as { cause?: unknown }).cause;
    }
    return undefined;
  }

  /** @param error that the transaction ended with. @returns its cause */
  causeOf(error: unknown): unknown {
    return this.error ?? (isStale(error) && this.abortedBy ? this.abortedBy : error);
  }

  /** Closes a connection with stale statements, so that the pool doesn't take it back. */
  end(): void {
    this.connection.off('errorMessage', this.failed);
    this.connection.off('readyForQuery', this.answered);
    this.connection.off('commandComplete', this.completed);
    if (this.error) void closeConnection(this.client);
  }

  private readonly failed = (error: unknown) => {
    if (this.isAborted) return;
    this.abort ??= error;
    if (isStale(error)) this.error ??= error;
    else this.abortedBy = error;
  };

  private readonly answered = ({ status }: { status: string }) => {
    this.isAborted = status === 'E';
    if (status === 'T') this.abort = undefined;
    if (this.hasBegun && status === 'I') this.hasEnded = true;
    this.hasBegun ||= status === 'T';
  };

  /** A string with `COMMIT; BEGIN` leaves another transaction open. */
  private readonly completed = ({ text }: { text: string }) => {
    if (this.hasBegun && /^(COMMIT|BEGIN|START TRANSACTION)$/.test(text)) this.hasEnded = true;
  };
}
