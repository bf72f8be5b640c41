import { DatabaseUnavailable, driverErrorOf, isConnectionLost, isOfServer, isServerAtFault } from '../sql.js';
import { serverFault } from './server-faults.js';

/** SQLSTATE 25006, read_only_sql_transaction. */
export function isReadOnly(error: unknown): boolean {
  return isOfServer(error) && driverErrorOf(error).code === '25006';
}

/** @throws DatabaseUnavailable for every error of `attempt` */
export async function orUnavailable<T>(attempt: () => Promise<T>): Promise<T> {
  try {
    return await attempt();
  } catch (error) {
    if (error instanceof DatabaseUnavailable) throw error;
    throw new DatabaseUnavailable('The database is not available', { cause: error });
  }
}

export function connectionLost(cause: unknown): DatabaseUnavailable {
  return new DatabaseUnavailable('The connection to the database was lost', { cause });
}

/** The error of a unit of work that failed with `cause`, when the database is at fault; else undefined. */
export function faultOfDatabase(cause: unknown): DatabaseUnavailable | undefined {
  if (isReadOnly(cause)) return new DatabaseUnavailable('The database takes no writes', { cause });
  if (isServerAtFault(cause)) return serverFault(cause);
  if (isConnectionLost(cause)) return connectionLost(cause);
  return undefined;
}
